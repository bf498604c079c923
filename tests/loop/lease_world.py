"""A Lease in memory with an API server's semantics, and connections to it that fail as networks do."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from modelramp.adapters.leases import Claim, Held
from modelramp.leader import Election
from modelramp.ports import Conflict
from modelramp.rollout.observation import Failed, NoData
from tests.loop.virtual_time import now

T = TypeVar("T")
UNREACHABLE = Failed("Unreachable", "connection refused")


class LoopClock:
    """Wall clock of one machine: as wrong as `wrong_by` says."""

    def __init__(self, wrong_by: timedelta = timedelta(0)) -> None:
        self._start = datetime(2026, 11, 23, 12, 0, tzinfo=UTC) + wrong_by

    def now(self) -> datetime:
        return self._start + timedelta(seconds=now())


@dataclass
class LeaseServer:
    """The one Lease, with a version that every write moves; `writes` is who held it, in order."""

    held: Held | None = None
    version: int = 100
    writes: list[Claim] = field(default_factory=list)

    def create(self, claim: Claim) -> Held | Conflict:
        return Conflict() if self.held else self._store(claim)

    def replace(self, claim: Claim, resource_version: str) -> Held | Conflict:
        """Replace the Lease; like the real one it makes one that is not there, whatever the version."""
        fits = self.held is None or self.held.resource_version == resource_version
        return self._store(claim) if fits else Conflict()

    def delete(self) -> None:
        self.held = None

    def _store(self, claim: Claim) -> Held:
        self.version += 1
        self.writes.append(claim)
        self.held = Held(claim.holder, claim.transitions, claim.duration, str(self.version))
        return self.held


@dataclass
class Connection:
    """One process's way to the Lease. `cut`: refused; `hung`: no answer; `frozen_until`: the process is paused."""

    server: LeaseServer
    cut: bool = False
    hung: bool = False
    loses_answers: bool = False
    latency: float = 0.01
    frozen_until: float = 0.0
    random: random.Random | None = None
    faults: float = 0.0

    async def read(self) -> Held | NoData | Failed:
        if failed := await self._reach():
            return failed
        answer = self.server.held or NoData("NoLease", "")
        return await self._answer(answer)

    async def create(self, claim: Claim) -> Held | Conflict | Failed:
        return await self._reach() or await self._answer(self.server.create(claim))

    async def replace(self, claim: Claim, resource_version: str) -> Held | Conflict | Failed:
        return await self._reach() or await self._answer(self.server.replace(claim, resource_version))

    async def _reach(self) -> Failed | None:
        await self._freeze()
        if self.cut or self._chance(self.faults):
            return UNREACHABLE
        if self.hung or self._chance(self.faults):
            await asyncio.sleep(300)
        await asyncio.sleep(self.latency * (self.random.uniform(0, 200) if self.random else 1))
        await self._freeze()
        return None

    async def _answer(self, answer: T) -> T:
        if self.loses_answers or self._chance(self.faults):
            await asyncio.sleep(300)
        await asyncio.sleep(self.latency)
        await self._freeze()
        return answer

    async def _freeze(self) -> None:
        """Stand still like a stopped process: not even a timeout moves it."""
        interrupted = False
        while (left := self.frozen_until - now()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                interrupted = True
        if interrupted:
            raise asyncio.CancelledError

    def _chance(self, share: float) -> bool:
        return self.random is not None and self.random.random() < share


@dataclass
class Process:
    """A process that wants to lead, until it lost: then it has exited."""

    name: str
    connection: Connection
    clock: LoopClock = field(default_factory=LoopClock)
    heir_of: str = ""
    resumed_at: list[float] = field(default_factory=list)
    lost_to: str = ""

    def __post_init__(self) -> None:
        self.election = Election(self.connection, self.name, self.clock, heir_of=self.heir_of, ticks=now)

    def run(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.election.acquire()
        self.lost_to = await self.election.keep(lambda: self.resumed_at.append(now()))
