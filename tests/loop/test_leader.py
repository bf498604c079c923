"""The election, on virtual time and a Lease whose connections fail in every way that networks do."""

import asyncio
import random
from datetime import timedelta

import pytest

from modelramp.adapters.leases import Claim, Held
from modelramp.leader import Terms, ticks, unique_identity
from tests.loop.lease_world import Connection, LeaseServer, LoopClock, Process
from tests.loop.virtual_time import now, on_virtual_time


def two_processes(server: LeaseServer) -> tuple[Process, Process]:
    return Process("a", Connection(server)), Process("b", Connection(server))


async def never_both(*processes: Process, until: float, every: float = 0.05) -> list[tuple[float, str]]:
    """Look at both all the time, and return every change of who may write."""
    changes: list[tuple[float, str]] = []
    while now() < until:
        holders = [process.name for process in processes if process.election.held()]
        assert len(holders) <= 1, f"{holders} lead together at {now()}"
        holder = "".join(holders)
        if not changes or changes[-1][1] != holder:
            changes.append((round(now(), 2), holder))
        await asyncio.sleep(every)
    return changes


@on_virtual_time
async def test_where_no_lease_is_the_first_leads_at_once() -> None:
    process = Process("a", Connection(LeaseServer()))
    process.run()
    await asyncio.sleep(0.1)
    assert process.election.held()


@on_virtual_time
async def test_only_one_leads_and_the_other_waits() -> None:
    a, b = two_processes(LeaseServer())
    a.run()
    b.run()
    changes = await never_both(a, b, until=600)
    assert [holder for _, holder in changes] == ["", "a"]


@on_virtual_time
async def test_a_leader_writes_the_lease_twelve_times_a_minute_and_no_more() -> None:
    a = Process("a", Connection(server := LeaseServer()))
    a.run()
    await asyncio.sleep(60.5)
    assert len(server.writes) <= 13


@on_virtual_time
async def test_a_released_lease_is_taken_within_one_retry() -> None:
    a, b = two_processes(server := LeaseServer())
    leading = a.run()
    await asyncio.sleep(1)
    b.run()
    await asyncio.sleep(10)
    leading.cancel()
    await a.election.release()
    assert not a.election.held()
    assert server.held is not None
    assert server.held.holder == ""
    released = now()
    changes = await never_both(a, b, until=released + 5)
    assert changes[-1][1] == "b"
    assert changes[-1][0] - released <= 2.1


@on_virtual_time
async def test_each_leadership_has_a_higher_epoch() -> None:
    server, epochs = LeaseServer(), []
    for name in "abcd":
        process = Process(name, Connection(server))
        running = process.run()
        await asyncio.sleep(1)
        epochs.append(process.election.epoch)
        running.cancel()
        await process.election.release()
    assert epochs == sorted(set(epochs))
    assert len(epochs) == 4


@on_virtual_time
async def test_a_dead_leader_is_followed_once_its_time_is_over() -> None:
    a, b = two_processes(LeaseServer())
    leading = a.run()
    await asyncio.sleep(1)
    b.run()
    await asyncio.sleep(20)
    leading.cancel()
    died = now()
    changes = await never_both(a, b, until=60)
    taken = next(at for at, holder in changes if holder == "b")
    assert 10 <= taken - died <= 20


@on_virtual_time
async def test_a_hung_renewal_ends_the_right_to_write_before_another_may_lead() -> None:
    a, b = two_processes(LeaseServer())
    a.run()
    await asyncio.sleep(0.5)
    b.run()
    await asyncio.sleep(20)
    a.connection.hung = True
    changes = await never_both(a, b, until=100)
    stopped = next(at for at, holder in changes if holder == "")
    taken = next(at for at, holder in changes if holder == "b")
    assert stopped - 20.5 <= 10
    assert taken - stopped >= 2


@on_virtual_time
async def test_a_leader_that_hung_and_comes_back_finds_the_other_and_ends() -> None:
    a, b = two_processes(LeaseServer())
    running = a.run()
    await asyncio.sleep(0.5)
    b.run()
    a.connection.hung = True
    await never_both(a, b, until=60)
    assert b.election.held()
    a.connection.hung = False
    await never_both(a, b, until=70)
    assert running.done()
    assert a.lost_to == "b"
    assert a.resumed_at == []


@on_virtual_time
async def test_a_paused_process_never_writes_after_it_wakes_up() -> None:
    a, b = two_processes(LeaseServer())
    a.run()
    await asyncio.sleep(0.5)
    b.run()
    await asyncio.sleep(9)
    a.connection.frozen_until = now() + 120
    changes = await never_both(a, b, until=200)
    assert [holder for _, holder in changes] == ["a", "", "b"]
    assert a.lost_to == "b"


@on_virtual_time
async def test_a_pause_between_the_renewal_and_its_answer_is_counted() -> None:
    a = Process("a", Connection(LeaseServer()))
    a.run()
    await asyncio.sleep(4.9)
    a.connection.latency = 0.2
    await asyncio.sleep(0.2)  # the renewal is on its way
    a.connection.frozen_until = now() + 30
    await asyncio.sleep(30.01)
    assert not a.election.held()


@on_virtual_time
async def test_while_the_api_server_is_away_nobody_writes_and_then_the_same_one_leads_on() -> None:
    a, b = two_processes(server := LeaseServer())
    a.run()
    await asyncio.sleep(0.5)
    b.run()
    await asyncio.sleep(20)
    a.connection.cut = b.connection.cut = True
    await never_both(a, b, until=140)
    assert not a.election.held()
    epoch = a.election.epoch
    a.connection.cut = b.connection.cut = False
    changes = await never_both(a, b, until=300)
    assert [holder for _, holder in changes] == ["", "a"]
    assert changes[1][0] - 140 <= 2
    assert a.election.epoch == epoch
    assert len(a.resumed_at) == 1
    assert {claim.holder for claim in server.writes} == {"a"}


@on_virtual_time
async def test_a_short_absence_of_the_api_server_is_not_noticed() -> None:
    a = Process("a", Connection(LeaseServer()))
    a.run()
    await asyncio.sleep(5.5)
    a.connection.cut = True
    changes = await never_both(a, until=9)
    a.connection.cut = False
    changes += await never_both(a, until=60)
    assert {holder for _, holder in changes} == {"a"}
    assert a.resumed_at == []


@on_virtual_time
async def test_a_lost_answer_does_not_end_a_leadership() -> None:
    a = Process("a", Connection(server := LeaseServer()))
    a.run()
    await asyncio.sleep(4.5)
    a.connection.loses_answers = True
    await asyncio.sleep(4)
    a.connection.loses_answers = False
    await asyncio.sleep(30)
    assert a.election.held()
    assert a.lost_to == ""
    assert len({claim.transitions for claim in server.writes}) == 1


@on_virtual_time
async def test_a_lease_that_was_taken_by_a_write_whose_answer_was_lost_is_ours() -> None:
    a = Process("a", Connection(LeaseServer(), loses_answers=True))
    a.run()
    await asyncio.sleep(4)
    a.connection.loses_answers = False
    await asyncio.sleep(6)
    assert a.election.held()


@on_virtual_time
async def test_a_restarted_container_leads_on_at_once_with_a_higher_epoch() -> None:
    server = LeaseServer()
    first = Process("pod-0.uid_1", Connection(server))
    leading = first.run()
    await asyncio.sleep(20)
    leading.cancel()  # killed: it releases nothing
    again = Process("pod-0.uid_2", Connection(server), heir_of="pod-0.uid_")
    stranger = Process("pod-1.uid_1", Connection(server), heir_of="pod-1.uid_")
    stranger.run()
    again.run()
    await asyncio.sleep(0.5)
    assert again.election.held()
    assert not stranger.election.held()
    assert again.election.epoch == first.election.epoch + 1


@on_virtual_time
async def test_wall_clocks_that_are_hours_apart_change_nothing() -> None:
    server = LeaseServer()
    a = Process("a", Connection(server), LoopClock(wrong_by=timedelta(hours=-7)))
    b = Process("b", Connection(server), LoopClock(wrong_by=timedelta(hours=9)))
    a.run()
    await asyncio.sleep(0.5)
    b.run()
    changes = await never_both(a, b, until=300)
    assert [holder for _, holder in changes] == ["a"]


@on_virtual_time
async def test_a_deleted_lease_is_made_again_by_its_leader_with_the_same_epoch() -> None:
    a, b = two_processes(server := LeaseServer())
    a.run()
    await asyncio.sleep(0.5)
    b.run()
    await asyncio.sleep(10)
    epoch = a.election.epoch
    server.delete()
    changes = await never_both(a, b, until=100)
    assert {holder for _, holder in changes} == {"a"}
    assert server.held is not None
    assert server.held.transitions == epoch


@on_virtual_time
async def test_after_a_lease_was_restored_from_a_backup_epochs_do_not_start_again_below_the_old() -> None:
    """Else every route carries a higher number than the leader's, and no rollback is written any more."""
    server = LeaseServer()
    a = Process("a", Connection(server))
    leading = a.run()
    await asyncio.sleep(61)
    leading.cancel()
    server.held = Held("", 3, timedelta(seconds=15), "7")
    b = Process("b", Connection(server))
    b.run()
    await asyncio.sleep(20)
    assert b.election.held()
    assert b.election.epoch > a.election.epoch


@on_virtual_time
async def test_after_a_lease_was_deleted_epochs_do_not_start_again_below_the_old() -> None:
    server = LeaseServer()
    a = Process("a", Connection(server))
    leading = a.run()
    await asyncio.sleep(1)
    leading.cancel()
    server.delete()
    await asyncio.sleep(61)
    b = Process("b", Connection(server))
    b.run()
    await asyncio.sleep(20)
    assert b.election.held()
    assert b.election.epoch > a.election.epoch
    assert b.election.epoch < 2**31


@on_virtual_time
async def test_a_lease_that_somebody_cleared_by_hand_is_lost() -> None:
    a = Process("a", Connection(server := LeaseServer()))
    running = a.run()
    await asyncio.sleep(1)
    assert server.held is not None
    server.replace(Claim("", 7, timedelta(seconds=15)), server.held.resource_version)
    await asyncio.sleep(6)
    assert running.done()
    assert a.lost_to == "nobody"
    assert not a.election.held()


@on_virtual_time
async def test_release_without_an_api_server_is_bounded_and_ends_the_right_at_once() -> None:
    a = Process("a", Connection(LeaseServer()))
    running = a.run()
    await asyncio.sleep(1)
    running.cancel()
    a.connection.hung = True
    began = now()
    await a.election.release()
    assert now() - began <= 3
    assert not a.election.held()


@on_virtual_time
async def test_a_process_that_never_led_releases_nothing() -> None:
    a, b = two_processes(server := LeaseServer())
    a.run()
    await asyncio.sleep(1)
    waiting = b.run()
    await asyncio.sleep(5)
    waiting.cancel()
    await b.election.release()
    assert server.held is not None
    assert server.held.holder == "a"


@on_virtual_time
async def test_answered_ago_tells_how_long_the_api_server_is_silent() -> None:
    a = Process("a", Connection(LeaseServer(), cut=True))
    a.run()
    await asyncio.sleep(5)
    assert a.election.answered_ago() == float("inf")
    a.connection.cut = False
    await asyncio.sleep(5)
    assert a.election.answered_ago() < 5
    a.connection.cut = True
    await asyncio.sleep(100)
    assert 95 < a.election.answered_ago() < 105


class Chaos:
    """Three processes that are paused, cut off, hung and killed at random, and started again once they ended."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.server = LeaseServer()
        self.processes: list[Process] = []
        self.running: dict[str, asyncio.Task[None]] = {}
        for _ in range(3):
            self.start()

    def start(self) -> None:
        connection = Connection(self.server, random=self.dice, faults=self.dice.choice((0.0, 0.05, 0.3)))
        clock = LoopClock(timedelta(hours=self.dice.randint(-9, 9)))
        process = Process(f"{len(self.processes)}", connection, clock)
        self.processes.append(process)
        self.running[process.name] = process.run()

    def strike(self) -> None:
        victim = self.dice.choice(self.processes)
        match self.dice.randrange(4):
            case 0:
                victim.connection.frozen_until = now() + self.dice.uniform(1, 60)
            case 1:
                victim.connection.cut = not victim.connection.cut
            case 2:
                victim.connection.hung = not victim.connection.hung
            case _ if victim.name in self.running:
                self.running[victim.name].cancel()

    def replace_the_dead(self) -> None:
        for name in [name for name, task in self.running.items() if task.done()]:
            del self.running[name]
            self.start()

    def holders(self) -> list[Process]:
        return [process for process in self.processes if process.election.held()]


@pytest.mark.parametrize("seed", range(20))
@on_virtual_time
async def test_never_two_leaders_whatever_fails(seed: int) -> None:
    """Half an hour of lost answers, hung calls, cuts, pauses, deaths and restarts of three processes."""
    chaos = Chaos(seed)
    epochs: dict[str, int] = {}
    while now() < 1800:
        holders = chaos.holders()
        assert len(holders) <= 1, f"{[holder.name for holder in holders]} lead together at {now()}"
        epochs |= {holder.name: holder.election.epoch for holder in holders}
        if chaos.dice.random() < 0.002:
            chaos.strike()
        chaos.replace_the_dead()
        await asyncio.sleep(0.1)
    assert len(epochs) >= 2, "the faults never made another process lead: the run proves nothing"
    assert len(set(epochs.values())) == len(epochs), "two leaders had the same epoch"


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline": timedelta(seconds=15)},
        {"deadline": timedelta(seconds=20)},
        {"renew_every": timedelta(seconds=8)},
        {"call": timedelta(seconds=6)},
    ],
)
def test_terms_that_are_not_safe_are_refused(wrong: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        Terms(**wrong)


def test_identities_differ_between_restarts_of_one_pod() -> None:
    assert unique_identity("pod-0") != unique_identity("pod-0")
    assert unique_identity("pod-0").startswith("pod-0_")


def test_ticks_grow() -> None:
    assert ticks() <= ticks()
