"""Lease election: at most one process may write, and each leadership has a number that only grows.

Safety rests on two facts, never on comparing wall clocks. The leader counts from the moment *before* it
sent the renewal that was confirmed, and stops writing `deadline` later. Another takes over only after it
has itself watched the Lease stay unchanged for `duration`, which is longer, and by a write that the API
server refuses if the Lease changed meanwhile.

A leader that could not renew in time stops writing but stays: when the API server is back and accepts its
next renewal, nobody led in between. Where somebody did, `keep` returns and the process has to end.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, assert_never

from modelramp.adapters.leases import Claim, Held, Leases
from modelramp.ports import Clock, Conflict
from modelramp.rollout.observation import Failed, NoData

log = logging.getLogger(__name__)

T = TypeVar("T")
_NEVER = float("-inf")


def ticks() -> float:
    """Return seconds that only grow and go on while the machine sleeps, where it can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def unique_identity(process: str) -> str:
    """Return an identity that no other process has, nor this one after a restart; it begins with `lineage`."""
    return f"{lineage(process)}{secrets.token_hex(6)}"


def lineage(process: str) -> str:
    """Return how the identities of a process and of those before it in its place begin."""
    return f"{process}_"


@dataclass(frozen=True, slots=True)
class Terms:
    """The clockwork of a leadership; `duration` less `deadline` is the margin of a write in flight."""

    duration: timedelta = timedelta(seconds=15)
    deadline: timedelta = timedelta(seconds=10)
    renew_every: timedelta = timedelta(seconds=5)
    retry_every: timedelta = timedelta(seconds=2)
    recover_every: timedelta = timedelta(seconds=1)
    call: timedelta = timedelta(seconds=3)

    def __post_init__(self) -> None:
        """Raise ValueError for terms under which two could lead or none could stay."""
        if not self.renew_every + self.call <= self.deadline < self.duration:
            raise ValueError(f"renew_every + call <= deadline < duration does not hold in {self}")


class Election:
    """One process's part in the election, and its `modelramp.lease.Lease`."""

    def __init__(
        self,
        leases: Leases,
        identity: str,
        clock: Clock,
        terms: Terms = Terms(),
        *,
        heir_of: str = "",
        ticks: Callable[[], float] = ticks,
    ) -> None:
        """Take part as `identity`; `clock` numbers a new Lease, `ticks` measures everything else.

        `heir_of` is the `lineage` of which all others are certainly dead, as the earlier containers of one pod are:
        what they held is taken at once. Empty where that is not certain.
        """
        self.identity, self.terms, self._heir_of = identity, terms, heir_of
        self._leases, self._clock, self._ticks = leases, clock, ticks
        self._until = _NEVER
        self._epoch = 0
        self._version = ""
        self._answered = _NEVER
        self._unchanged: tuple[str, float] = ("", _NEVER)
        self._complaint = ""

    # ------------------------------------------------------------------ as the writers see it
    @property
    def epoch(self) -> int:
        """Return the number of this leadership, 0 before the first."""
        return self._epoch

    def held(self) -> bool:
        """Tell whether this process may write now."""
        return self._ticks() < self._until

    def answered_ago(self) -> float:
        """Return the seconds since the API server last gave a usable answer, infinite where it never did."""
        return self._ticks() - self._answered

    # ------------------------------------------------------------------ becoming leader
    async def acquire(self) -> None:
        """Return once this process leads; wait as long as that takes."""
        while not await self._try_to_lead():  # noqa: ASYNC110
            await asyncio.sleep(self.terms.retry_every.total_seconds())
        log.info("leading", extra={"identity": self.identity, "epoch": self._epoch})

    async def _try_to_lead(self) -> bool:
        match await self._answer(self._leases.read()):
            case Held() as held:
                return self._is_free(held) and await self._take(held)
            case NoData():  # at once where it never was; where it was deleted, its holder may still write
                return self._unchanged_for("") > self.terms.duration and await self._make()
            case Failed() as failed:
                self._look_anew()
                return self._complain("the Lease cannot be read", failed)
            case never:
                assert_never(never)

    def _is_free(self, held: Held) -> bool:
        unchanged = self._unchanged_for(held.resource_version)
        ours = held.holder in ("", self.identity) or (bool(self._heir_of) and held.holder.startswith(self._heir_of))
        return ours or unchanged > held.duration

    def _unchanged_for(self, version: str) -> timedelta:
        """Return how long this process itself has seen the Lease at a version; "" is its absence."""
        now = self._ticks()
        seen, since = self._unchanged
        if seen != version:
            self._unchanged, since = (version, now), now
        return timedelta(seconds=now - since) if since > _NEVER else timedelta.max

    def _look_anew(self) -> None:
        """Count only while the API server answers: after its absence the one that led goes on."""
        version, since = self._unchanged
        if since > _NEVER:
            self._unchanged = (version, self._ticks())

    async def _take(self, held: Held) -> bool:
        """Take a free Lease; one that is ours already was taken by a write whose answer was lost."""
        ours = held.holder == self.identity
        self._epoch = held.transitions if ours else max(held.transitions + 1, self._minute())
        return await self._acquired(held.resource_version)

    async def _make(self) -> bool:
        """Create the Lease."""
        self._epoch = self._minute()
        return await self._acquired("")

    def _minute(self) -> int:
        """Return the least number: a Lease that was deleted or restored must not make epochs start again."""
        return int(self._clock.now().timestamp() // 60)

    async def _acquired(self, version: str) -> bool:
        written = await self._write(version, acquired=True)
        if isinstance(written, Failed):
            return self._complain("the Lease cannot be written", written)
        return isinstance(written, Held)

    # ------------------------------------------------------------------ staying leader
    async def keep(self, resumed: Callable[[], None]) -> str:
        """Renew until somebody else leads, and say who; `resumed` is called when a lapsed lead goes on."""
        pause = self.terms.renew_every
        while True:
            await asyncio.sleep(pause.total_seconds())
            lapsed = not self.held()
            renewed = await self._renew()
            if isinstance(renewed, str):
                self._until = _NEVER
                return renewed
            pause = self.terms.renew_every if renewed else self.terms.recover_every
            if renewed and lapsed and self.held():
                log.warning("leading again; nobody else led meanwhile")
                resumed()

    async def _renew(self) -> bool | str:
        """Renew once: True when confirmed, False when that is unclear, else who leads now."""
        match await self._write(self._version):
            case Held():
                return True
            case Failed() as failed:
                return self._complain("the Lease cannot be renewed; no write once it lapses", failed)
            case Conflict():
                return await self._recognise()
            case never:
                assert_never(never)

    async def _recognise(self) -> bool | str:
        match await self._answer(self._leases.read()):
            case Held() as held if held.holder == self.identity:  # our own renewal: its answer was lost
                return isinstance(await self._write(held.resource_version), Held)
            case Held() as held:
                return held.holder or "nobody"
            case NoData() | Failed():
                return False
            case never:
                assert_never(never)

    # ------------------------------------------------------------------ leaving
    async def release(self) -> None:
        """Stop writing and let the next one lead at once, if the API server can be told."""
        if not self._version:
            return
        self._until = _NEVER
        written = await self._give_up(self._version)
        if isinstance(written, Conflict):
            held = await self._answer(self._leases.read())
            if isinstance(held, Held) and held.holder == self.identity:
                written = await self._give_up(held.resource_version)
        log.info("released the Lease" if isinstance(written, Held) else "the Lease could not be released")

    async def _give_up(self, version: str) -> Held | Conflict | Failed:
        nobody = Claim("", self._epoch, timedelta(seconds=1))
        return await self._answer(self._leases.replace(nobody, version))

    # ------------------------------------------------------------------ inside
    async def _write(self, version: str, *, acquired: bool = False) -> Held | Conflict | Failed:
        """Claim the Lease, a new one where `version` is empty; only a confirmed write prolongs our time."""
        claim = Claim(self.identity, self._epoch, self.terms.duration, acquired)
        sent = self._ticks()
        written: Held | Conflict | Failed
        if version:
            written = await self._answer(self._leases.replace(claim, version))
        else:
            written = await self._answer(self._leases.create(claim))
        if isinstance(written, Held):
            self._version, self._until = written.resource_version, sent + self.terms.deadline.total_seconds()
        return written

    async def _answer(self, call: Awaitable[T]) -> T | Failed:
        try:
            async with asyncio.timeout(self.terms.call.total_seconds()):
                answer = await call
        except TimeoutError:
            return Failed("Timeout", f"no answer within {self.terms.call.total_seconds():g} s")
        if not isinstance(answer, Failed):
            self._answered, self._complaint = self._ticks(), ""
        return answer

    def _complain(self, what: str, failed: Failed) -> bool:
        """Log each kind of trouble once, not at every try, and return False."""
        if self._complaint != (complaint := f"{what}: {failed.reason}"):
            self._complaint = complaint
            log.warning("%s: %s", complaint, failed.message)
        return False
