"""Fifty objects in mid-ramp with a guardrail each that is asked every second: cost, then breaches."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from modelramp.ports import Ref
from tests.benchmarks import peers
from tests.benchmarks.bench import Bench, rested
from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.watcher import Board
from tests.whole.manifests import rail, steps
from tests.whole.prometheus import BAD, Odd

RAMPS, TOGETHER, ALONE, RUNNING = 50, 50, 20, 40
WITHIN = 60.0
RAMP = {"steps": steps(10, 50, 100, hold="1h")}
RAIL = rail(failureLimit={"count": 1, "mode": "Consecutive"})


async def measure(bench: Bench) -> None:
    """Take all to 10 %, look at the cost, break them at once, take them up again, break them one at a time."""
    namespace = await bench.stage.namespace()
    refs = [Ref(namespace, f"ramp-{index}") for index in range(RAMPS)]
    async with bench.watching(namespace) as board, bench.operator(namespace) as operator:
        await bench.create(refs, ramp=RAMP, guardrails=[RAIL])
        await bench.until(board, refs, f"version 1 of {RAMPS} is stable", rested)
        await take_up(bench, board, refs, "2")
        window = await bench.window(operator, f"cost of {RAMPS} in mid-ramp")
        beat = {"CPU s/min": 9.5, "API calls/s": 42.0}
        what = f"{RAMPS} in mid-ramp, a guardrail every second"
        values = window.values()
        bench.figures.append(Figure(what, "", values, beat=beat, elsewhere=peers.RAMPING_50, note=window.note()))
        bench.figures.append(await break_together(bench, board, refs))
        await take_up(bench, board, refs[:RUNNING], "3")
        bench.figures.append(await break_alone(bench, board, refs[:RUNNING]))


async def take_up(bench: Bench, board: Board, refs: Sequence[Ref], version: str) -> None:
    """Pin a version and wait until it holds 10 % everywhere."""
    await bench.edit(refs, model={"version": version})
    await bench.until(
        board,
        refs,
        f"{len(refs)} ramps at 10 %",
        lambda seen: seen.weights.get(version) == 10 and seen.phase == "Ramping",
    )


async def break_together(bench: Bench, board: Board, refs: Sequence[Ref]) -> Figure:
    """Let every guardrail fail from one instant on."""
    began = time.monotonic()
    for ref in refs:
        bench.stage.prometheus.say(ref, "2", BAD)
    await bench.until(board, refs, f"{TOGETHER} breaches at once", lambda seen: "2" in seen.emptied, WITHIN)
    samples = [board.of(ref.name).emptied["2"] - began for ref in refs]
    answers = [_reaction(bench, board, ref, "2") for ref in refs]
    what = f"breach → stored weight 0, {TOGETHER} at once"
    return Figure(
        what, "s", spread(samples, "median", "p99", "max"), len(refs),
        beat={"median": 1.57, "p99": 2.36}, elsewhere=peers.BREACH_MANY, raw=samples,
        note=f"of which after the first bad answer: median {spread(answers)['median']:.3f}, max {max(answers):.3f}",
    )  # fmt: skip


async def break_alone(bench: Bench, board: Board, refs: Sequence[Ref]) -> Figure:
    """Let one guardrail fail at a time, at a random moment, while the others go on."""
    bar = bench.progress.add_task(f"{ALONE} breaches one at a time", total=ALONE)
    samples, answers = [], []
    for ref in refs[:ALONE]:
        await asyncio.sleep(random.uniform(0.5, 1.5))
        began = time.monotonic()
        bench.stage.prometheus.say(ref, "3", BAD)
        await board.until(lambda ref=ref: "3" in board.of(ref.name).emptied, f"weight 0 of {ref}", WITHIN)  # type: ignore[misc]
        samples.append(board.of(ref.name).emptied["3"] - began)
        answers.append(_reaction(bench, board, ref, "3"))
        bench.progress.advance(bar)
    return Figure(
        f"breach → stored weight 0, one at a time, {RUNNING - ALONE}–{RUNNING - 1} others ramping", "s",
        spread(samples, "median", "p99", "max"), ALONE,
        beat={"median": 1.24, "max": 2.5}, elsewhere=peers.BREACH_ONE, raw=samples,
        note=f"of which after the first bad answer: median {spread(answers)['median']:.3f}, max {max(answers):.3f}; "
        "the rest is waiting to be asked",
    )  # fmt: skip


def _reaction(bench: Bench, board: Board, ref: Ref, version: str) -> float:
    """Return the seconds from the first bad answer until the watch saw the weight at 0."""
    bad = (each.at for each in bench.stage.prometheus.answers(ref, version) if _is_bad(each.reply))
    return board.of(ref.name).emptied[version] - next(bad)


def _is_bad(reply: float | Odd) -> bool:
    return reply == BAD
