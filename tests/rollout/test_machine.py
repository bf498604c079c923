"""The transition table: every row fires in a real turn, and nothing else moves a phase."""

from __future__ import annotations

import pytest

from modelramp.rollout.decide import Decision, decide
from modelramp.rollout.machine import TRANSITIONS
from modelramp.rollout.status import Phase
from modelramp.rollout.turn import SignalKind
from tests.properties.worlds import World, worlds

ROWS = [(phase, signal) for phase, row in TRANSITIONS.items() for signal in row]
TURNS_A_PHASE = 2500


def turn(world: World) -> Decision:
    return decide(world.spec, world.status, world.seen, world.evidence, claimed=world.claimed)


@pytest.fixture(scope="module")
def fired() -> dict[tuple[Phase, SignalKind], set[Phase]]:
    """Return, for each phase and signal that came up in a turn, the phases that it led to."""
    found: dict[tuple[Phase, SignalKind], set[Phase]] = {}
    for phase in TRANSITIONS:
        for world in worlds(phase, count=TURNS_A_PHASE):
            decision = turn(world)
            found.setdefault((phase, decision.signal.kind), set()).add(decision.status.phase)
    return found


@pytest.mark.parametrize(("phase", "signal"), ROWS, ids=lambda word: word.value)
def test_every_row_of_the_table_fires(
    fired: dict[tuple[Phase, SignalKind], set[Phase]], phase: Phase, signal: SignalKind
) -> None:
    assert fired.get((phase, signal)) == {TRANSITIONS[phase][signal]}


def test_what_is_not_in_the_table_moves_nothing(fired: dict[tuple[Phase, SignalKind], set[Phase]]) -> None:
    moved = {
        (phase.value, signal.value)
        for (phase, signal), reached in fired.items()
        if signal not in TRANSITIONS[phase] and reached != {phase}
    }
    assert not moved


def test_no_signal_comes_up_that_the_table_does_not_know(fired: dict[tuple[Phase, SignalKind], set[Phase]]) -> None:
    resting = {SignalKind.HOLD, SignalKind.PAUSE, SignalKind.RELEASE}
    unknown = {(p.value, s.value) for p, s in fired if s not in TRANSITIONS[p] and s not in resting}
    assert not unknown
