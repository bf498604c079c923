"""How long the core thinks about one turn."""

from __future__ import annotations

import time
from statistics import median

from modelramp.rollout.decide import decide
from modelramp.rollout.status import Phase
from tests.benchmarks.figures import Figure
from tests.properties.worlds import World, worlds

TURNS, ROUNDS = 1000, 5


def decide_all(turns: list[World]) -> float:
    """Return the CPU microseconds per turn, the fastest of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for turn in turns:
            decide(turn.spec, turn.status, turn.seen, turn.evidence, claimed=turn.claimed)
        rounds.append((time.process_time() - began) / len(turns) * 1e6)
    return min(rounds)


def measure() -> Figure:
    """Decide generated turns of every phase."""
    by_phase = {phase.value: decide_all(list(worlds(phase, count=TURNS))) for phase in Phase}
    slowest = max(by_phase, key=lambda phase: by_phase[phase])
    values = {"median phase": median(by_phase.values()), "slowest phase": by_phase[slowest]}
    note = f"slowest is {slowest}; Ramping {by_phase['Ramping']:.0f}"
    return Figure("decide(), the pure core, per turn", "µs", values, TURNS * len(by_phase), note=note)
