"""A keyed work queue: one turn per key at a time, doubled wakes are one turn, failed turns come back later.

It knows no Kubernetes. Time is the event loop's own clock, so a loop with another clock tests it exactly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class Outcome(Enum):
    """How a turn ended."""

    DONE = "done"
    FAILED = "failed"
    LATE = "late"
    """The deadline passed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast turns go."""

    workers: int = 16
    deadline: timedelta = timedelta(seconds=60)
    first_backoff: timedelta = timedelta(seconds=0.5)
    longest_backoff: timedelta = timedelta(seconds=60)
    urgent_in_a_row: int = 4
    """After so many urgent turns one other goes, so that a storm of edits never starves a guardrail."""

    def backoff(self, failures: int) -> timedelta:
        """Return the pause after so many failed turns in a row, without jitter."""
        doubled = self.first_backoff * float(1 << min(failures - 1, 16))
        return min(doubled, self.longest_backoff)


def spread() -> float:
    """Return the factor that keeps failed turns from coming back together, 0.8 to 1.2."""
    return random.uniform(0.8, 1.2)  # noqa: S311


def _never(_: object) -> bool:
    return False


def _ignore(_seconds: float, _outcome: Outcome) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Turn:
    task: asyncio.Task[None]
    asked: float
    began: float


class Queue(Generic[K]):
    """Runs `turn(key)` for every key that was woken; `turn` says when to look again, None only on a wake.

    `gone` tells that a key is no more: then its timers and its backoff end, a wake still gets its turn.
    `expected` are the faults of the outside: they are logged without a trace. `turned` is told every turn's seconds
    and outcome.
    """

    def __init__(
        self,
        turn: Callable[[K], Awaitable[timedelta | None]],
        pace: Pace = Pace(),
        *,
        gone: Callable[[K], bool] = _never,
        expected: tuple[type[Exception], ...] = (),
        turned: Callable[[float, Outcome], None] = _ignore,
        jitter: Callable[[], float] = spread,
    ) -> None:
        """Build a stopped queue: it takes wakes and runs nothing until `start`."""
        self._turn, self._pace, self._jitter = turn, pace, jitter
        self._gone, self._expected, self._turned = gone, expected, turned
        self._urgent: OrderedDict[K, float] = OrderedDict()
        self._ready: OrderedDict[K, float] = OrderedDict()
        self._running: dict[K, _Turn] = {}
        self._again: dict[K, bool] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._urgent_streak = 0
        self._open = False

    # ------------------------------------------------------------------ waking
    def wake(self, key: K, *, urgent: bool = False) -> None:
        """Ask for a turn as soon as there is room; a key that waits already is only moved up."""
        if key in self._running:
            self._again[key] = urgent or self._again.get(key, False)
            return
        self._enqueue(key, urgent=urgent)
        self._dispatch()

    def wake_after(self, key: K, delay: timedelta) -> None:
        """Ask for a turn once `delay` is over, at the latest; an earlier appointment stays."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay.total_seconds()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(due, self._ring, key)

    def retry_failing(self) -> None:
        """Give every key whose last turn failed another now: what was away is back."""
        for key in tuple(self._failures):
            self.wake(key)

    def forget(self, key: K) -> None:
        """Drop all that is planned for a key; a turn that runs now ends in peace."""
        self._cancel_timer(key)
        for plan in (self._urgent, self._ready, self._again, self._failures):
            plan.pop(key, None)

    # ------------------------------------------------------------------ running
    def start(self) -> None:
        """Begin to run turns."""
        self._open = True
        self._dispatch()

    async def stop(self, within: timedelta) -> bool:
        """Start no more turns; wait for those that run, then cancel them; tell whether none had to be."""
        self._open = False
        for key in tuple(self._timers):
            self._cancel_timer(key)
        running = [turn.task for turn in self._running.values()]
        if not running:
            return True
        _, late = await asyncio.wait(running, timeout=within.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return not late

    # ------------------------------------------------------------------ gauges
    @property
    def depth(self) -> int:
        """Return how many keys wait for a turn."""
        return len(self._urgent) + len(self._ready)

    @property
    def running(self) -> int:
        """Return how many turns run now."""
        return len(self._running)

    @property
    def failing(self) -> int:
        """Return how many keys' last turn failed."""
        return len(self._failures)

    def waited(self) -> float:
        """Return the seconds that the oldest waiting key has waited, 0.0 where none waits."""
        since = (*self._urgent.values(), *self._ready.values())
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    def longest_turn(self) -> float:
        """Return the seconds that the longest running turn has taken so far, 0.0 where none runs."""
        began = [turn.began for turn in self._running.values()]
        return asyncio.get_running_loop().time() - min(began) if began else 0.0

    def woken(self, key: K) -> timedelta | None:
        """Return how long ago the turn that runs for a key was asked for, None where none runs."""
        turn = self._running.get(key)
        return timedelta(seconds=asyncio.get_running_loop().time() - turn.asked) if turn else None

    # ------------------------------------------------------------------ inside
    def _enqueue(self, key: K, *, urgent: bool) -> None:
        if key in self._urgent or (key in self._ready and not urgent):
            return
        since = self._ready.pop(key, None)
        lane = self._urgent if urgent else self._ready
        lane[key] = asyncio.get_running_loop().time() if since is None else since

    def _ring(self, key: K) -> None:
        del self._timers[key]
        if self._gone(key):
            self.forget(key)
        else:
            self.wake(key)

    def _dispatch(self) -> None:
        while self._open and self.depth and len(self._running) < self._pace.workers:
            key, asked = self._pick()
            self._cancel_timer(key)
            task = asyncio.create_task(self._run(key), name=f"turn of {key}")
            self._running[key] = _Turn(task, asked, asyncio.get_running_loop().time())

    def _pick(self) -> tuple[K, float]:
        fair = self._ready and self._urgent_streak >= self._pace.urgent_in_a_row
        urgent = bool(self._urgent) and not fair
        self._urgent_streak = self._urgent_streak + 1 if urgent else 0
        return (self._urgent if urgent else self._ready).popitem(last=False)

    async def _run(self, key: K) -> None:
        began = asyncio.get_running_loop().time()
        self._again.pop(key, None)  # this very turn answers every wake until now
        try:
            outcome, delay = await self._attempt(key)
        finally:
            del self._running[key]
        self._turned(asyncio.get_running_loop().time() - began, outcome)
        self._plan(key, delay)
        self._dispatch()

    async def _attempt(self, key: K) -> tuple[Outcome, timedelta | None]:
        try:
            async with asyncio.timeout(self._pace.deadline.total_seconds()) as deadline:
                delay = await self._turn(key)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the object gets another turn
            outcome = Outcome.LATE if deadline.expired() else Outcome.FAILED
            return outcome, self._failed(key, fault)
        self._failures.pop(key, None)
        return Outcome.DONE, delay

    def _failed(self, key: K, fault: Exception) -> timedelta:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._pace.backoff(failures) * self._jitter()
        log.warning(
            "turn failed, again in %.1f s: %s",
            delay.total_seconds(),
            str(fault) or type(fault).__name__,
            extra={"ref": key, "failures": failures},
            exc_info=None if isinstance(fault, self._expected) else fault,
        )
        return delay

    def _plan(self, key: K, delay: timedelta | None) -> None:
        again = self._again.pop(key, None)
        if not self._open:
            return
        if again is not None:
            self._enqueue(key, urgent=again)
        elif self._gone(key):
            self.forget(key)
        elif delay is not None:
            self.wake_after(key, delay)

    def _cancel_timer(self, key: K) -> None:
        with contextlib.suppress(KeyError):
            self._timers.pop(key).cancel()
