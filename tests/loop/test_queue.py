"""The work queue, on virtual time: every delay below is exact."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from modelramp.queue import Outcome, Pace, Queue, spread
from tests.loop.virtual_time import now, on_virtual_time

SECOND = timedelta(seconds=1)


@dataclass
class Turns:
    """Turns that take `takes` seconds, fail as often as `failing` says, and are written down."""

    takes: float = 0.0
    again: timedelta | None = None
    failing: int = 0
    began: list[tuple[str, float]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: dict[str, int] = field(default_factory=dict)
    most: int = 0
    _now: dict[str, int] = field(default_factory=dict)

    async def __call__(self, key: str) -> timedelta | None:
        self.began.append((key, now()))
        self._now[key] = self._now.get(key, 0) + 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.most_at_once[key] = max(self.most_at_once.get(key, 0), self._now[key])
        try:
            await asyncio.sleep(self.takes)
            if self.failing:
                self.failing -= 1
                raise RuntimeError("this turn fails")
        finally:
            self._now[key] -= 1
            self.at_once -= 1
        return self.again

    def times(self, key: str = "a") -> list[float]:
        return [round(at, 6) for turned, at in self.began if turned == key]

    def order(self) -> list[str]:
        return [key for key, _ in self.began]


def a_queue(turns: Callable[..., object], **options: object) -> Queue[str]:
    queue: Queue[str] = Queue(turns, **{"jitter": lambda: 1.0} | options)  # type: ignore[arg-type]
    return queue


@on_virtual_time
async def test_a_wake_gets_its_turn_at_once() -> None:
    queue = a_queue(turns := Turns())
    queue.start()
    queue.wake("a")
    await asyncio.sleep(100)
    assert turns.times() == [0.0]


@on_virtual_time
async def test_wakes_that_wait_are_one_turn() -> None:
    queue = a_queue(turns := Turns(), pace=Pace(workers=1))
    for _ in range(50):
        queue.wake("a")
    assert queue.depth == 1
    queue.start()
    await asyncio.sleep(1)
    assert len(turns.began) == 1


@on_virtual_time
async def test_one_key_never_has_two_turns_at_once_and_a_wake_meanwhile_is_not_lost() -> None:
    queue = a_queue(turns := Turns(takes=2.0))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(0.5)
    queue.wake("a")
    queue.wake("a")
    await asyncio.sleep(10)
    assert turns.times() == [0.0, 2.0]
    assert turns.most_at_once["a"] == 1


@on_virtual_time
async def test_different_keys_go_side_by_side_up_to_the_workers() -> None:
    queue = a_queue(turns := Turns(takes=1.0), pace=Pace(workers=3))
    queue.start()
    for key in "abcdefg":
        queue.wake(key)
    await asyncio.sleep(10)
    assert turns.order() == list("abcdefg")
    assert turns.most == 3
    assert [at for _, at in turns.began] == [0, 0, 0, 1, 1, 1, 2]


@on_virtual_time
async def test_a_turn_says_when_to_look_again() -> None:
    queue = a_queue(turns := Turns(again=timedelta(seconds=15)))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(46)
    assert turns.times() == [0.0, 15.0, 30.0, 45.0]


@on_virtual_time
async def test_the_earliest_appointment_wins() -> None:
    queue = a_queue(turns := Turns())
    queue.start()
    queue.wake_after("a", 30 * SECOND)
    queue.wake_after("a", 10 * SECOND)
    queue.wake_after("a", 20 * SECOND)
    await asyncio.sleep(100)
    assert turns.times() == [10.0]


@on_virtual_time
async def test_an_event_comes_before_the_appointment_and_replaces_it() -> None:
    queue = a_queue(turns := Turns(again=timedelta(seconds=60)))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(10)
    queue.wake("a")
    await asyncio.sleep(65)
    assert turns.times() == [0.0, 10.0, 70.0]


@on_virtual_time
async def test_an_appointment_that_was_made_during_a_turn_wins_when_it_is_earlier() -> None:
    queue = a_queue(turns := Turns(takes=1.0, again=timedelta(seconds=60)))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(0.5)
    queue.wake_after("a", 5 * SECOND)
    await asyncio.sleep(20)
    assert turns.times() == [0.0, 5.5]


@on_virtual_time
async def test_failed_turns_come_back_with_doubling_pauses_up_to_the_longest() -> None:
    pace = Pace(first_backoff=SECOND, longest_backoff=5 * SECOND)
    queue = a_queue(turns := Turns(failing=5), pace=pace)
    queue.start()
    queue.wake("a")
    await asyncio.sleep(100)
    assert turns.times() == [0, 1, 3, 7, 12, 17]
    assert queue.failing == 0


@on_virtual_time
async def test_the_pause_after_a_success_starts_small_again() -> None:
    queue = a_queue(turns := Turns(failing=3), pace=Pace(first_backoff=SECOND))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(50)
    turns.failing = 1
    queue.wake("a")
    await asyncio.sleep(50)
    assert turns.times() == [0, 1, 3, 7, 50, 51]


@on_virtual_time
async def test_jitter_multiplies_the_pause() -> None:
    queue = a_queue(turns := Turns(failing=2), pace=Pace(first_backoff=SECOND), jitter=lambda: 1.2)
    queue.start()
    queue.wake("a")
    await asyncio.sleep(50)
    assert turns.times() == [0, 1.2, 3.6]


def test_jitter_stays_within_a_fifth_and_differs() -> None:
    factors = {spread() for _ in range(1000)}
    assert 0.8 <= min(factors) < 0.85
    assert 1.15 < max(factors) <= 1.2


@on_virtual_time
async def test_an_event_ends_the_pause_after_a_failure() -> None:
    queue = a_queue(turns := Turns(failing=1), pace=Pace(first_backoff=40 * SECOND))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(1)
    queue.wake("a")
    await asyncio.sleep(100)
    assert turns.times() == [0, 1]


@on_virtual_time
async def test_a_turn_over_its_deadline_is_cancelled_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Outcome] = []
    queue = a_queue(
        turns := Turns(takes=1000.0),
        pace=Pace(deadline=60 * SECOND, first_backoff=SECOND),
        turned=lambda _, outcome: seen.append(outcome),
    )
    queue.start()
    queue.wake("a")
    await asyncio.sleep(70)
    assert turns.times() == [0, 61]
    assert seen == [Outcome.LATE]
    assert "turn failed" in caplog.text


@on_virtual_time
async def test_one_failing_key_holds_up_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def turn(key: str) -> timedelta | None:
        if key == "bad":
            raise RuntimeError("never works")
        good.append(now())
        return SECOND

    good: list[float] = []
    queue = a_queue(turn, pace=Pace(workers=1))
    queue.start()
    queue.wake("bad")
    queue.wake("good")
    await asyncio.sleep(10.5)
    assert good == list(range(11))
    failures = [record for record in caplog.records if record.message.startswith("turn failed")]
    assert all(record.ref == "bad" and record.exc_info for record in failures)  # type: ignore[attr-defined]
    assert failures


@on_virtual_time
async def test_a_gone_key_has_no_appointments_but_a_wake_still_gets_its_turn() -> None:
    gone: set[str] = set()
    queue = a_queue(turns := Turns(again=10 * SECOND), gone=gone.__contains__)
    queue.start()
    queue.wake("a")
    await asyncio.sleep(5)
    gone.add("a")
    await asyncio.sleep(50)
    assert turns.times() == [0]
    queue.wake("a")
    await asyncio.sleep(50)
    assert turns.times() == [0, 55]


@on_virtual_time
async def test_a_gone_key_is_not_tried_again_after_a_failure() -> None:
    queue = a_queue(turns := Turns(failing=3), gone=lambda _: True)
    queue.start()
    queue.wake("a")
    await asyncio.sleep(1000)
    assert turns.times() == [0]
    assert queue.failing == 0


@on_virtual_time
async def test_forget_drops_what_is_planned() -> None:
    queue = a_queue(turns := Turns())
    queue.wake("a")
    queue.wake_after("b", SECOND)
    queue.forget("a")
    queue.forget("b")
    queue.start()
    await asyncio.sleep(10)
    assert turns.began == []


@on_virtual_time
async def test_urgent_keys_go_first() -> None:
    queue = a_queue(turns := Turns(takes=1.0), pace=Pace(workers=1))
    for key in "abc":
        queue.wake(key)
    queue.wake("retreat", urgent=True)
    queue.wake("c", urgent=True)
    queue.start()
    await asyncio.sleep(10)
    assert turns.order() == ["retreat", "c", "a", "b"]


@on_virtual_time
async def test_urgent_keys_cannot_starve_the_others() -> None:
    async def turn(key: str) -> timedelta | None:
        order.append(key)
        await asyncio.sleep(1)
        if key.startswith("hot"):
            queue.wake(key, urgent=True)
        return None

    order: list[str] = []
    queue = a_queue(turn, pace=Pace(workers=1, urgent_in_a_row=4))
    for key in ("hot1", "hot2"):
        queue.wake(key, urgent=True)
    for key in "ab":
        queue.wake(key)
    queue.start()
    await asyncio.sleep(12)
    assert order.index("a") == 4
    assert order.index("b") == 9


@on_virtual_time
async def test_an_urgent_wake_during_a_turn_stays_urgent() -> None:
    queue = a_queue(turns := Turns(takes=1.0), pace=Pace(workers=1))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(0.5)
    queue.wake("b")
    queue.wake("a", urgent=True)
    await asyncio.sleep(10)
    assert turns.order() == ["a", "a", "b"]


@on_virtual_time
async def test_nothing_runs_before_start_and_nothing_begins_after_stop() -> None:
    queue = a_queue(turns := Turns(takes=1.0), pace=Pace(workers=1))
    queue.wake("a")
    await asyncio.sleep(5)
    assert turns.began == []
    queue.start()
    queue.wake("b")
    await asyncio.sleep(0.5)
    assert await queue.stop(within=10 * SECOND)
    assert now() == 6.0
    queue.wake("c")
    await asyncio.sleep(100)
    assert turns.order() == ["a"]


@on_virtual_time
async def test_stop_cancels_what_does_not_end_in_time() -> None:
    queue = a_queue(Turns(takes=1000.0))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(1)
    assert not await queue.stop(within=5 * SECOND)
    assert now() == 6.0
    assert queue.running == 0


@on_virtual_time
async def test_stop_of_an_idle_queue_is_immediate() -> None:
    queue = a_queue(Turns())
    queue.start()
    assert await queue.stop(within=5 * SECOND)
    assert now() == 0.0


@on_virtual_time
async def test_the_gauges_tell_how_long_the_oldest_waits_and_the_longest_runs() -> None:
    queue = a_queue(Turns(takes=20.0), pace=Pace(workers=1))
    assert (queue.waited(), queue.longest_turn(), queue.depth, queue.running) == (0.0, 0.0, 0, 0)
    queue.start()
    queue.wake("a")
    await asyncio.sleep(3)
    queue.wake("b")
    await asyncio.sleep(1)
    queue.wake("c", urgent=True)
    queue.wake("b", urgent=True)
    await asyncio.sleep(4)
    assert (queue.waited(), queue.longest_turn(), queue.depth, queue.running) == (5.0, 8.0, 2, 1)


@on_virtual_time
async def test_every_turn_is_told_with_its_seconds_and_outcome() -> None:
    told: list[tuple[float, Outcome]] = []
    queue = a_queue(Turns(takes=2.0, failing=1), turned=lambda *turn: told.append(turn))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(10)
    assert told == [(2.0, Outcome.FAILED), (2.0, Outcome.DONE)]


@on_virtual_time
async def test_ten_thousand_keys_each_get_one_turn() -> None:
    queue = a_queue(turns := Turns(takes=0.01))
    queue.start()
    for key in range(10_000):
        queue.wake(str(key))
        queue.wake(str(key))
    await asyncio.sleep(60)
    assert len(turns.began) == 10_000
    assert len(set(turns.order())) == 10_000
    assert queue.depth == 0


@on_virtual_time
async def test_when_the_outside_is_back_failing_keys_do_not_wait_for_their_pause() -> None:
    queue = a_queue(turns := Turns(failing=3), pace=Pace(first_backoff=20 * SECOND))
    queue.start()
    queue.wake("a")
    await asyncio.sleep(1)
    queue.retry_failing()
    queue.retry_failing()
    await asyncio.sleep(1)
    assert turns.times() == [0, 1]


@on_virtual_time
async def test_faults_of_the_outside_are_logged_in_a_line_and_others_with_their_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def turn(key: str) -> timedelta | None:
        raise ConnectionError("away") if key == "outside" else KeyError("bug")

    queue = a_queue(turn, expected=(ConnectionError,))
    queue.start()
    queue.wake("outside")
    queue.wake("bug")
    await asyncio.sleep(0.1)
    traces = {record.ref: bool(record.exc_info) for record in caplog.records}  # type: ignore[attr-defined]
    assert traces == {"outside": False, "bug": True}
    assert "away" in caplog.text


@on_virtual_time
async def test_a_turn_knows_how_long_ago_it_was_asked_for() -> None:
    async def turn(key: str) -> timedelta | None:
        await asyncio.sleep(2)
        known[key] = queue.woken(key)
        return None

    known: dict[str, timedelta | None] = {}
    queue = a_queue(turn, pace=Pace(workers=1))
    queue.start()
    queue.wake("a")
    queue.wake("b")
    await asyncio.sleep(10)
    assert known == {"a": 2 * SECOND, "b": 4 * SECOND}
    assert queue.woken("a") is None
