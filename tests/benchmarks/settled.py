"""Many objects whose rollout is over: what they cost while nothing happens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from modelramp.ports import Ref
from tests.benchmarks import peers
from tests.benchmarks.bench import Bench, Window, rested
from tests.benchmarks.figures import Figure
from tests.benchmarks.footprint import proportional_mib, resident_mib
from tests.benchmarks.watcher import Board
from tests.whole.manifests import rail
from tests.whole.process import OperatorProcess

FEW, MANY = 200, 1000
WATCHING = [rail(interval="15s", window="15s")]
ARGO_AT_200 = {"CPU s/min": 0.06, "RSS MiB": 110.0, "API calls/s": 0.0}


async def measure(bench: Bench) -> None:
    """Settle 200, then 1,000 objects; look at the cost without and with guardrails; start the operator again."""
    namespace = await bench.stage.namespace()
    refs = [Ref(namespace, f"settled-{index}") for index in range(MANY)]
    async with bench.watching(namespace) as board:
        async with bench.operator(namespace) as operator:
            await settle(bench, board, refs[:FEW])
            await both(bench, board, operator, refs[:FEW])
            await settle(bench, board, refs[FEW:])
            await both(bench, board, operator, refs)
        await restart(bench, namespace)


async def settle(bench: Bench, board: Board, refs: Sequence[Ref]) -> None:
    """Roll version 1 of each object out."""
    await bench.create(refs, guardrails=[])
    await bench.until(board, refs, f"version 1 of {len(refs)} more is stable", rested, 600)


async def both(bench: Bench, board: Board, operator: OperatorProcess, refs: Sequence[Ref]) -> None:
    """Measure without guardrails, then with one each, and take them away again."""
    few = len(refs) == FEW
    await one(
        bench,
        operator,
        refs,
        "no guardrail",
        ARGO_AT_200 if few else {},
        peers.SETTLED_200 if few else peers.SETTLED_MORE,
    )
    await change(bench, board, refs, WATCHING)
    await one(bench, operator, refs, "a guardrail every 15 s", {"API calls/s": 0.0}, "")
    if few:
        await change(bench, board, refs, [])


async def one(
    bench: Bench, operator: OperatorProcess, refs: Sequence[Ref], how: str, beat: dict[str, float], elsewhere: str
) -> Window:
    """Measure one window."""
    window = await bench.window(operator, f"cost of {len(refs)} settled, {how}")
    bench.figures.append(
        Figure(f"{len(refs):,} settled, {how}", "", window.values(), beat=beat, elsewhere=elsewhere, note=window.note())
    )
    return window


async def change(bench: Bench, board: Board, refs: Sequence[Ref], guardrails: list[Any]) -> None:
    """Give every object these guardrails, and wait until each has been seen."""
    before = {ref.name: board.of(ref.name).generation for ref in refs}
    known = {id(board.of(name)): generation for name, generation in before.items()}
    await bench.edit(refs, guardrails=guardrails)
    what = f"{len(guardrails)} guardrails for each of {len(refs)}"
    await bench.until(board, refs, what, lambda seen: seen.generation > known[id(seen)] and rested(seen))


async def restart(bench: Bench, namespace: str) -> None:
    """Start an operator where everything is settled already."""
    began = time.monotonic()
    async with bench.operator(namespace) as operator:
        bar = bench.progress.add_task(f"start with {MANY} objects there", total=1)
        while (await series(operator)).get('modelramp_turn_seconds_count{outcome="done"}', 0.0) < MANY:
            assert operator.runs, "\n".join(str(line) for line in operator.said()[-5:])
        seconds = time.monotonic() - began
        bench.progress.advance(bar)
        values = {"s": seconds, "RSS MiB": resident_mib(operator.pid), "PSS MiB": proportional_mib(operator.pid)}
        note = "the Lease of one that was killed is waited for (15 s); then all is read and each object has a turn"
        bench.figures.append(Figure(f"start with {MANY:,} settled", "", values, note=note))


async def series(operator: OperatorProcess) -> dict[str, float]:
    """Return the operator's own metrics, none while it does not answer."""
    try:
        return await operator.metrics()
    except OSError:
        return {}
