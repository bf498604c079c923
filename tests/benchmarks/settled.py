"""Many objects whose rollout is over: what they cost while nothing happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelramp.ports import Ref
from tests.benchmarks import peers
from tests.benchmarks.bench import Bench, rested
from tests.benchmarks.figures import Figure
from tests.benchmarks.footprint import proportional_mib, resident_mib
from tests.benchmarks.watcher import Board
from tests.whole.manifests import rail
from tests.whole.process import OperatorProcess

FEW, MANY = 200, 1000
PATIENCE = 1200.0  # seconds, for a machine that does much else
WATCHING = [rail(interval="15s", window="15s")]
ARGO_AT_200 = {"CPU s/min": 0.06, "RSS MiB": 110.0, "API calls/s": 0.0}


@dataclass(frozen=True)
class Fleet:
    """So many settled objects, and what is to be beaten with them."""

    refs: Sequence[Ref]
    beat: Mapping[str, float]
    elsewhere: str


async def measure(bench: Bench) -> None:
    """Settle 200, then 1,000 objects; look at the cost without and with guardrails; start the operator again."""
    namespace = await bench.stage.namespace()
    refs = [Ref(namespace, f"settled-{index}") for index in range(MANY)]
    few, all_of_them = Fleet(refs[:FEW], ARGO_AT_200, peers.SETTLED_200), Fleet(refs, {}, peers.SETTLED_MORE)
    async with bench.watching(namespace) as board:
        async with bench.operator(namespace) as operator:
            await settle(bench, board, few.refs, [])
            await unwatched(bench, operator, few)
            await change(bench, board, few.refs, WATCHING)
            await watched(bench, operator, few)
            await settle(bench, board, refs[FEW:], WATCHING)
            await watched(bench, operator, all_of_them)
            await change(bench, board, refs, [])
            await unwatched(bench, operator, all_of_them)
            await operator.terminate()
        await restart(bench, namespace)


async def settle(bench: Bench, board: Board, refs: Sequence[Ref], guardrails: list[Any]) -> None:
    """Roll version 1 of each object out."""
    await bench.create(refs, guardrails=guardrails)
    await bench.until(board, refs, f"version 1 of {len(refs)} more is stable", rested, PATIENCE)


async def unwatched(bench: Bench, operator: OperatorProcess, fleet: Fleet) -> None:
    """Measure objects that nothing is asked about."""
    what = f"{len(fleet.refs):,} settled, no guardrail"
    window = await bench.window(operator, f"cost of {what}")
    figure = Figure(what, "", window.values(), beat=fleet.beat, elsewhere=fleet.elsewhere, note=window.note())
    bench.figures.append(figure)


async def watched(bench: Bench, operator: OperatorProcess, fleet: Fleet) -> None:
    """Measure objects whose stable version goes on being watched."""
    what = f"{len(fleet.refs):,} settled, a guardrail every 15 s"
    window = await bench.window(operator, f"cost of {what}")
    bench.figures.append(Figure(what, "", window.values(), beat={"API calls/s": 0.0}, note=window.note()))


async def change(bench: Bench, board: Board, refs: Sequence[Ref], guardrails: list[Any]) -> None:
    """Give every object these guardrails, and wait until each has been seen."""
    before = {ref.name: board.of(ref.name).generation for ref in refs}
    known = {id(board.of(name)): generation for name, generation in before.items()}
    await bench.edit(refs, guardrails=guardrails)
    what = f"{len(guardrails)} guardrails for each of {len(refs)}"
    await bench.until(board, refs, what, lambda seen: seen.generation > known[id(seen)] and rested(seen), PATIENCE)


async def restart(bench: Bench, namespace: str) -> None:
    """Start an operator where everything is settled already."""
    began = time.monotonic()
    async with bench.operator(namespace) as operator:
        bar = bench.progress.add_task(f"start with {MANY} objects there", total=1)
        while (await series(operator)).get('modelramp_turn_seconds_count{outcome="done"}', 0.0) < MANY:
            assert operator.runs, "\n".join(str(line) for line in operator.said()[-5:])
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - began
        bench.progress.advance(bar)
        values = {"s": seconds, "RSS MiB": resident_mib(operator.pid), "PSS MiB": proportional_mib(operator.pid)}
        note = "from the start of the process until all is read and each object has had a turn"
        bench.figures.append(Figure(f"start with {MANY:,} settled", "", values, note=note))


async def series(operator: OperatorProcess) -> dict[str, float]:
    """Return the operator's own metrics, none while it does not answer."""
    try:
        return await operator.metrics()
    except OSError:
        return {}
