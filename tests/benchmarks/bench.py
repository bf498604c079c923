"""What every benchmark stands on: an API server of its own, the stage, operators under a user of their own."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from modelramp.ports import Ref
from tests.adapters.real import install_definition
from tests.benchmarks.audit import USER, Audit, Calls
from tests.benchmarks.figures import Figure
from tests.benchmarks.footprint import Usage, children_mib, proportional_mib, resident_mib, usage
from tests.benchmarks.watcher import Board, Seen, watching
from tests.controlplane import ApiServer, running_api_server
from tests.whole.process import OperatorProcess
from tests.whole.stage import Stage, staged

AT_A_TIME = 16
"""Objects that are written at a time where it does not matter how fast."""
QUIET = 5.0  # seconds without a write before a window begins


@dataclass(frozen=True)
class Window:
    """What an operator used while nothing was done to it."""

    seconds: float
    used: Usage
    calls: Calls
    questions: int
    resident: float
    proportional: float
    children: float

    @property
    def cpu(self) -> float:
        """Return the CPU seconds per minute of the operator itself."""
        return self.used.own * 60 / self.seconds

    @property
    def others(self) -> float:
        """Return how many cores everything else on the machine kept busy."""
        return (self.used.machine - self.used.own - self.used.children) / self.seconds

    def values(self) -> dict[str, float]:
        """Return the numbers by name."""
        return {
            "CPU s/min": self.cpu,
            "RSS MiB": self.resident,
            "PSS MiB": self.proportional,
            "API calls/s": self.calls.total / self.seconds,
        }

    def note(self) -> str:
        """Return what is counted apart."""
        minutes = self.seconds / 60
        calls = ", ".join(f"{count} {what}" for what, count in self.calls.others.most_common(3))
        return (
            f"apart: {self.calls.leases / minutes:.0f} Lease/min, {self.calls.watches / minutes:.0f} watches/min; "
            f"registry worker {self.used.children * 60 / self.seconds:.2f} CPU s/min, {self.children:.0f} MiB; "
            f"{self.questions / self.seconds:.1f} Prometheus queries/s; others kept {self.others:.1f} cores busy"
            + (f"; calls: {calls}" if calls else "")
        )


@dataclass
class Bench:
    """One run of everything."""

    server: ApiServer
    stage: Stage
    audit: Audit
    progress: Progress
    seconds: float
    """Of a window in which cost is measured."""
    figures: list[Figure] = field(default_factory=list)

    def watching(self, namespace: str) -> AbstractAsyncContextManager[Board]:
        """Watch a namespace from a process of its own."""
        return watching(self.server, namespace)

    def operator(self, namespace: str) -> AbstractAsyncContextManager[OperatorProcess]:
        """Run an operator over TLS, under a user that priority and fairness lets pass, as the peers had it."""
        credentials = self.server.mint(USER, "system:masters")
        return self.stage.operator(namespace, environment={"KUBECONFIG": str(credentials.kubeconfig)})

    async def create(self, refs: Sequence[Ref], at_a_time: int = AT_A_TIME, **spec: Any) -> None:
        """Create many objects."""
        await self.each(refs, lambda ref: self.stage.create(ref, **spec), at_a_time)

    async def edit(self, refs: Sequence[Ref], **spec: Any) -> None:
        """Change the specs of many objects."""
        await self.each(refs, lambda ref: self.stage.admin.edit(ref, **spec), AT_A_TIME)

    async def each(self, refs: Sequence[Ref], write: Callable[[Ref], Any], at_a_time: int) -> None:
        """Do something to each object, so many at a time."""
        room = asyncio.Semaphore(at_a_time)

        async def one(ref: Ref) -> None:
            async with room:
                await write(ref)

        await asyncio.gather(*(one(ref) for ref in refs))

    async def until(
        self, board: Board, refs: Sequence[Ref], what: str, holds: Callable[[Seen], object], within: float = 300.0
    ) -> None:
        """Wait, with a bar, until something holds of every object."""
        bar = self.progress.add_task(what, total=len(refs))
        wanted = [board.of(ref.name) for ref in refs]

        def reached() -> bool:
            done = sum(bool(holds(seen)) for seen in wanted)
            self.progress.update(bar, completed=done)
            return done == len(refs)

        await board.until(reached, what, within)

    async def quiet(self) -> None:
        """Wait until the operator has written nothing for a while."""
        position = -1
        while position < 0 or self.audit.since(position).writes:
            position = self.audit.position()
            await asyncio.sleep(QUIET)

    async def window(self, operator: OperatorProcess, what: str) -> Window:
        """Measure what an operator uses while nothing is done to it."""
        await self.quiet()
        asked, position = len(self.stage.prometheus.asked), self.audit.position()
        before, began = usage(operator.pid), time.monotonic()
        bar = self.progress.add_task(what, total=round(self.seconds))
        for second in range(round(self.seconds)):
            await asyncio.sleep(began + second + 1 - time.monotonic())
            self.progress.advance(bar)
        used, seconds = usage(operator.pid) - before, time.monotonic() - began
        return Window(
            seconds,
            used,
            self.audit.since(position),
            len(self.stage.prometheus.asked) - asked,
            resident_mib(operator.pid),
            proportional_mib(operator.pid),
            children_mib(operator.pid),
        )


def rested(seen: Seen) -> bool:
    """Tell whether an object's rollout is over and nothing is on its way."""
    return seen.phase == "Promoted" and seen.at_rest


@asynccontextmanager
async def prepared(seconds: float) -> AsyncIterator[Bench]:
    """Start everything but operators; all of it is gone afterwards."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    async with AsyncExitStack() as stack:
        progress = stack.enter_context(Progress(*columns))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelramp-bench-")))
        audit = Audit(directory)
        bar = progress.add_task("start etcd and kube-apiserver", total=1)
        server = stack.enter_context(running_api_server(audit.options))
        install_definition(server)
        progress.advance(bar)
        stage = await stack.enter_async_context(staged(server, directory))
        yield Bench(server, stage, audit, progress, seconds)
