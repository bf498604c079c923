"""The operator is killed between two writes of a rollout and of a rollback; nobody can tell afterwards."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from modelramp.adapters.kinds import DEPLOYMENT, SERVICE
from modelramp.ports import Ref
from tests.loop.live import until
from tests.whole.end_state import differences, end_state
from tests.whole.invariants import violations
from tests.whole.observer import Trace
from tests.whole.process import OperatorProcess
from tests.whole.prometheus import BAD, GOOD
from tests.whole.proxy import ApiProxy, When, Write
from tests.whole.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

POINTS, FEWEST = 24, 20
"""Crashes that are tried; and that must have happened."""
STORIES, STARTS = 8, 3
"""Told at a time; and operators that start at a time: a start is two seconds of a processor."""
MOST_LOST = 2
"""Events are posted after what they tell is stored, and never twice: those that one crash met on their way are lost."""
_OWNED = DEPLOYMENT, SERVICE
PATIENCE = 150.0  # seconds for a chapter, with 15 for the Lease of the one that was killed


@dataclass(frozen=True)
class Crash:
    """Die at this write, before it is sent or after it is stored."""

    write: int
    when: When
    same_pod: bool

    def __str__(self) -> str:
        return f"{self.when.value} write {self.write}, again in {'the same' if self.same_pod else 'another'} pod"


@dataclass
class Run:
    """One story from the first version to the rollback of the third, told by however many lives it takes."""

    stage: Stage
    ref: Ref
    trace: Trace
    proxy: ApiProxy
    starts: asyncio.Semaphore
    crash: Crash | None = None
    died_at: str = ""
    operator: OperatorProcess | None = None

    async def hook(self, write: Write, when: When) -> None:
        """Kill the operator at the point that was chosen, once."""
        if self.crash and not self.died_at and (write.number, when) == (self.crash.write, self.crash.when):
            assert self.operator is not None
            await self.operator.kill()
            self.died_at = f"{when.value} {write}"
            raise ConnectionResetError

    async def keep_running(self) -> None:
        """Start the operator again whenever it ends, as its Deployment does."""
        while True:
            async with AsyncExitStack() as life:
                async with self.starts:
                    pod, through = self.pod(), self.proxy
                    starting = self.stage.operator(self.ref.namespace, through=through, environment=pod, forked=True)
                    self.operator = await life.enter_async_context(starting)
                    await self.operator.until_up()
                await self.operator.process.wait()

    def pod(self) -> dict[str, str]:
        """Return what tells a container that was started again in its pod from a new pod, which waits for the Lease."""
        return {"POD_UID": self.ref.namespace} if self.crash and self.crash.same_pod else {}

    async def tell(self) -> None:
        """Roll version 1 out, ramp version 2, roll version 3 back at 50 %."""
        ref, trace = self.ref, self.trace
        self.stage.prometheus.say(ref, "3", lambda: BAD if trace.weights(ref).get("3", 0) >= 50 else GOOD)
        await self.stage.create(ref)
        await trace.until_phase(ref, "Promoted", "1", PATIENCE)
        await self.stage.pin(ref, "2")
        await trace.until_phase(ref, "Promoted", "2", PATIENCE)
        await self.stage.pin(ref, "3")
        await trace.until_phase(ref, "RolledBack", "2", PATIENCE)
        await trace.until(lambda: is_at_rest(trace.status(ref)), lambda: f"at rest: {trace.status(ref)}", PATIENCE)
        await until(self.is_gone, "nothing of version 3 is left", PATIENCE)
        await trace.until(lambda: not trace.status(ref).get("outbox"), "every record is written", PATIENCE)

    async def is_gone(self) -> bool:
        """Tell whether version 3 has no Deployment and no Service any more; they go after its last answer."""
        owned = [await self.stage.admin.get(kind, self.ref.namespace, f"{self.ref.name}-v3") for kind in _OWNED]
        return owned == [None, None]


def is_at_rest(status: dict[str, Any]) -> bool:
    """Tell whether nothing is on its way any more."""
    held = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    return held.get("Reconciling") == "False" and held.get("TrafficConverged") == "True"


async def play(stage: Stage, starts: asyncio.Semaphore, crash: Crash | None = None) -> tuple[Run, dict[str, Any]]:
    """Play the story in a namespace of its own; return the run and what is left when no more is written."""
    namespace = await stage.namespace()
    ref = Ref(namespace, "fraud")
    async with stage.observed(namespace) as trace, stage.proxied() as proxy:
        run = Run(stage, ref, trace, proxy, starts, crash)
        proxy.hook = run.hook
        running = asyncio.create_task(run.keep_running())
        try:
            await run.tell()
            if crash:
                with suppress(AssertionError):  # a story may take a write or two less than the unbroken one
                    await trace.until(lambda: run.died_at, f"a crash {crash}", 10)
            await trace.until(lambda: leads(run.operator), "an operator leads, the one after the crash too", PATIENCE)
            await until_quiet(proxy)
            return run, await end_state(stage.admin, trace, ref)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def leads(operator: OperatorProcess | None) -> bool:
    """Tell whether a process runs that has read everything as the leader."""
    return (
        operator is not None and operator.runs and any(each["message"] == "read everything" for each in operator.said())
    )


async def until_quiet(proxy: ApiProxy, seconds: float = 1.5) -> None:
    """Wait until nothing was written for a while."""
    written = -1
    while written != len(proxy.numbered):
        written = len(proxy.numbered)
        await asyncio.sleep(seconds)


async def test_a_crash_between_any_two_writes_changes_nothing(stage: Stage) -> None:
    stories, starts = asyncio.Semaphore(STORIES), asyncio.Semaphore(STARTS)

    async def crashed(crash: Crash) -> tuple[Run, dict[str, Any]]:
        async with stories:
            return await play(stage, starts, crash)

    unbroken, expected = await play(stage, starts)
    assert violations(unbroken.trace, unbroken.ref, stage.prometheus) == []
    crashes = choose(len(unbroken.proxy.numbered))
    played = await asyncio.gather(*(crashed(crash) for crash in crashes), return_exceptions=True)
    faults = [fault for crash, run in zip(crashes, played, strict=True) for fault in judge(stage, crash, run, expected)]
    assert not faults, "\n".join(faults)
    died = [run.died_at for run, _ in played if run.died_at]
    assert len(died) >= FEWEST, f"only {len(died)} died: {died}"


def choose(writes: int) -> list[Crash]:
    """Return crashes spread over the whole story: before and after in turn, and in the same pod or another."""
    points = sorted({round(1 + index * (writes - 1) / (POINTS - 1)) for index in range(POINTS)})
    return [Crash(point, tuple(When)[index % 2], same_pod=index % 4 < 2) for index, point in enumerate(points)]


def judge(stage: Stage, crash: Crash, played: Any, expected: dict[str, Any]) -> list[str]:
    """Return what a crash has changed."""
    if isinstance(played, BaseException):
        return [f"{crash}: {played!r}"]
    run, left = played
    told = [f"{crash}: {fault}" for fault in violations(run.trace, run.ref, stage.prometheus)]
    lost = [event for event in expected["events"] if event not in left["events"]]
    more = [event for event in left["events"] if event not in expected["events"]]
    if len(lost) > MOST_LOST or more:
        told.append(f"{crash}: the Events are {left['events']}; lost {lost}")
    changed = differences(left | {"events": None}, expected | {"events": None})
    return told + [f"{crash} ({run.died_at}): {line}" for line in changed]
