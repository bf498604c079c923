"""What a hostile reader tried: each test is one way in which a bad version got traffic, or a rollback was undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelramp.rollout import guardrails as rails
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.decide import Decision, decide
from modelramp.rollout.observation import Effect, Measurement, Observation, Route, Split, Value, Workload
from modelramp.rollout.spec import Bounds, FailureLimit, FailureMode, Guardrail, Plan, Serving, Spec, Step
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Pin, Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ERRORS = Guardrail("errors", "up", Bounds(max=0.05))
PLAN = Plan(steps=(Step(10, HOUR), Step(100, HOUR)), guardrails=(ERRORS,))
SPEC = Spec("fraud", "8", Serving(keep_warm=2), PLAN, fingerprint="1:8")


def pin(version: str) -> Pin:
    return Pin(version, f"run{version}", f"models:/m-{version}", f"sha256:{version}")


def attempt(version: str, kind: AttemptKind = AttemptKind.FRESH) -> Attempt:
    since = NOW - 2 * HOUR
    return Attempt(f"{version}-abc", version, kind, f"1:{version}", PLAN, since, since, settled_at=since)


def promoted() -> Status:
    """Version 8 serves, 7 is warm."""
    return Status(Phase.PROMOTED, stable=pin("8"), previous=(pin("7"),), attempt=attempt("8"))


def ramping() -> Status:
    """Version 8 has its first step, 7 is stable, 6 is warm."""
    return Status(Phase.RAMPING, stable=pin("7"), candidate=pin("8"), previous=(pin("6"),), attempt=attempt("8"))


def world(split: dict[str, int], *, written: dict[str, int] | None = None, why: str = "") -> Observation:
    """Everything is ready and follows; the stored split is ours unless `written` is another."""
    stored = Split(split)
    backends = frozenset({"6", "7", "8"})
    route = Route(stored, stored if written is None else Split(written), backends, "kubectl", why)
    pods = {version: Workload(version, 1, 1) for version in sorted(backends)}
    return Observation(NOW, route=Value(route), effect=Value(Effect(stored)), workloads=Value(pods))


def turn(status: Status, seen: Observation, evidence: rails.Evidence | None = None, spec: Spec = SPEC) -> Decision:
    return decide(spec, status, seen, evidence, claimed=True)


def weights(decision: Decision) -> list[dict[str, int]]:
    return [
        {version: share for version, share in action.split.weights.items() if share}
        for action in decision.actions
        if isinstance(action, SetTraffic)
    ]


# ---------------------------------------------------------------- a retreat that a crash, or a conflict, cut short
@pytest.mark.parametrize("why", ["GuardrailFailed: errors", "ManualRollback: by kubectl"])
def test_a_retreat_from_a_promoted_version_whose_status_was_not_written_is_finished(why: str) -> None:
    """The route is at 7, signed by us; the status, for a conflict or a crash, still says 8."""
    decision = turn(promoted(), world({"7": 100}, why=f"retreat 8-abc {why}"))
    assert decision.status.phase is Phase.ROLLED_BACK
    assert decision.status.stable == pin("7")
    assert {"8": 100} not in weights(decision)


def test_a_retreat_from_stable_is_finished_while_another_version_is_on_its_way() -> None:
    starting = replace(promoted(), phase=Phase.STARTING, candidate=pin("9"), attempt=attempt("9"))
    seen = world({"7": 100}, why="retreat 9-abc GuardrailFailed: errors")
    decision = turn(starting, seen, spec=replace(SPEC, version="9", fingerprint="1:9"))
    assert (decision.status.phase, decision.status.stable) == (Phase.ROLLED_BACK, pin("7"))
    assert weights(decision) in ([], [{"7": 100}])


def test_a_retreat_is_signed_so_that_it_can_be_finished_whatever_led_to_the_version_that_failed() -> None:
    """After a pin that came back to stable there is no attempt to sign with."""
    status = replace(promoted(), attempt=None)
    failing = rails.Evidence(rails.Scope("stable 8"), {"errors": rails.Tally(failures=1)})
    first = turn(status, world({"8": 100}), failing)
    assert weights(first) == [{"7": 100}]
    (written,) = (action for action in first.actions if isinstance(action, SetTraffic))
    second = turn(status, world({"7": 100}, why=written.why))
    assert (second.status.phase, second.status.stable) == (Phase.ROLLED_BACK, pin("7"))


@pytest.mark.parametrize("why", ["", "Ready", "retreat 8-old GuardrailFailed: errors"])
def test_a_write_of_ours_that_was_no_retreat_of_this_attempt_is_done_again(why: str) -> None:
    decision = turn(ramping(), world({"7": 100}, why=why))
    assert decision.status.phase is Phase.RAMPING
    assert weights(decision) == [{"7": 90, "8": 10}]
