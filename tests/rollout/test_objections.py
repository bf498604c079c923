"""What a gateway says against the route that it is to serve: the attempt says it on, and gives up at its deadline."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from modelramp.rollout.observation import Effect, Value
from modelramp.rollout.signals import SignalKind
from modelramp.rollout.status import Phase
from tests.rollout.test_review import NOW, SECOND, attempt, ramping, turn, world

SAID = "gateway public: ResolvedRefs is False: BackendNotFound"
REJECTED = Value(Effect(None, detail=SAID, rejection=SAID))


def test_it_is_what_an_attempt_waits_for_before_any_traffic() -> None:
    starting = replace(ramping(), phase=Phase.STARTING, attempt=replace(attempt("8"), settled_at=None))
    decision = turn(starting, replace(world({"7": 100}), effect=REJECTED))
    assert decision.status.reason == "WaitingForEffect"
    assert decision.status.message == f"waiting until the router has taken up the present split: {SAID}"


def test_it_is_what_a_step_waits_for_and_what_ends_it_at_the_deadline() -> None:
    unsettled = replace(ramping(), attempt=replace(attempt("8"), phase_since=NOW, settled_at=None))
    seen = replace(world({"7": 90, "8": 10}), effect=REJECTED)
    waits = turn(unsettled, replace(seen, now=NOW + SECOND))
    assert waits.status.message.endswith(f"waiting until the router has taken up the split: {SAID}")
    late = turn(waits.status, replace(seen, now=NOW + SECOND + timedelta(minutes=2)), waits.evidence)
    assert late.signal.kind is SignalKind.INEFFECTIVE
    assert late.signal.message.endswith(SAID)
