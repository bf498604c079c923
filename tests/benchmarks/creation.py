"""From creating an object to its first status."""

from __future__ import annotations

from collections.abc import Sequence

from modelramp.ports import Ref
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.watcher import Board, Seen

ALONE, TOGETHER = 20, 200
_NOTE = "from the watch's ADDED to its first event with a phase"


async def measure(bench: Bench) -> None:
    """Create objects one at a time, then many at once."""
    namespace = await bench.stage.namespace()
    async with bench.watching(namespace) as board, bench.operator(namespace):
        await warm_up(bench, board, Ref(namespace, "warm-up"))
        one = [Ref(namespace, f"one-{index}") for index in range(ALONE)]
        for ref in one:
            await bench.stage.create(ref, guardrails=[])
            await board.until(lambda ref=ref: board.of(ref.name).first_status, f"a status of {ref}", 30)  # type: ignore[misc]
        bench.figures.append(figure("one at a time", board, one))
        many = [Ref(namespace, f"many-{index}") for index in range(TOGETHER)]
        await bench.create(many, at_a_time=TOGETHER, guardrails=[])
        await bench.until(board, many, f"first status of {TOGETHER} created at once", _has_status)
        bench.figures.append(figure(f"{TOGETHER} at once", board, many))


async def warm_up(bench: Bench, board: Board, ref: Ref) -> None:
    """Wait until the operator leads and its registry worker runs."""
    await bench.stage.create(ref, guardrails=[])
    await bench.until(board, [ref], "the operator leads", lambda seen: seen.at_rest, 90)


def figure(how: str, board: Board, refs: Sequence[Ref]) -> Figure:
    """Return the milliseconds of many objects."""
    seen = [board.of(ref.name) for ref in refs]
    samples = [1000 * (each.first_status - each.created) for each in seen]
    values = spread(samples, "median", "p99", "max")
    return Figure(f"create → first status, {how}", "ms", values, len(refs), note=_NOTE, raw=samples)


def _has_status(seen: Seen) -> object:
    return seen.first_status
