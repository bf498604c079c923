"""An attempt in Gating: what it waits for, what refuses it, and how an override is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelramp.rollout.actions import RunVersion, SetTraffic
from modelramp.rollout.decide import Decision, decide
from modelramp.rollout.gates.spec import Gates, MetricGate, Override
from modelramp.rollout.observation import Busy, Failed, Metric, ModelVersion, NoData, Observation, TrainingRun, Value
from modelramp.rollout.signature import Field, Plain, Signature
from modelramp.rollout.spec import Plan, Spec
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Pin, Status

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SIGNED = Signature((Field("amount", Plain("double")),))
MODEL = ModelVersion(
    "fraud", "8", "run8", "models:/m-8", "1", "READY", "sha256:8", SIGNED, (Metric("auc", 0.8),),
    run=TrainingRun("run8"),
)  # fmt: skip


def gated(model: object, gates: Gates, stable: object = None) -> Decision:
    plan = Plan(gates=gates)
    attempt = Attempt("8-1", "8", AttemptKind.FRESH, "1:8", plan, NOW, NOW)
    pin = Pin("7") if stable is not None else None
    status = Status(phase=Phase.GATING, attempt=attempt, stable=pin)
    seen = Observation(now=NOW, model=model, stable_model=stable)  # type: ignore[arg-type]
    return decide(Spec("fraud", "8", plan=plan, fingerprint="1:8"), status, seen, None, claimed=True)


FLOOR = Gates(metrics=(MetricGate("auc", min=0.9),))


def let(gate: str, hours: int = 1) -> Gates:
    return replace(FLOOR, overrides=(Override(gate, "agreed with risk", NOW + timedelta(hours=hours)),))


def test_a_failed_gate_refuses_and_every_result_is_kept() -> None:
    decision = gated(Value(MODEL), FLOOR)
    assert (decision.status.phase, decision.status.reason) == (Phase.REJECTED, "GatesFailed")
    assert decision.status.attempt is not None
    assert [result.gate for result in decision.status.attempt.gates if not result.passed] == ["metric:auc"]


def test_an_override_lets_it_through_in_a_condition_and_an_event() -> None:
    decision = gated(Value(MODEL), let("metric:auc"))
    assert decision.status.phase is Phase.STARTING
    (condition,) = (found for found in decision.status.conditions if found.type == "GatesPassed")
    assert (condition.status, condition.reason) == ("True", "OverriddenGates")
    assert "metric:auc is overridden until 2026-11-25T13:00:00Z: agreed with risk" in condition.message
    (event,) = (told for told in decision.events if told.reason == "GateOverridden")
    assert ("agreed with risk" in event.message, "auc 0.8, min 0.9" in event.message, event.normal) == (
        True,
        True,
        False,
    )


def test_an_override_that_is_over_or_names_no_gate_helps_nobody() -> None:
    assert gated(Value(MODEL), let("metric:auc", -1)).status.phase is Phase.REJECTED
    assert gated(Value(MODEL), let("metric:f1")).status.phase is Phase.REJECTED


def test_an_override_that_names_no_gate_is_told() -> None:
    good = replace(MODEL, metrics=(Metric("auc", 0.95),))
    decision = gated(Value(good), let("metric:f1"))
    (condition,) = (found for found in decision.status.conditions if found.type == "GatesPassed")
    assert "the override of metric:f1 names no gate that was judged" in condition.message


@pytest.mark.parametrize("answer", [Failed("RegistryTimeout", "no answer"), Busy("asking"), None])
def test_a_registry_that_does_not_answer_about_either_version_only_holds(answer: object) -> None:
    for decision in (gated(answer, FLOOR), gated(Value(MODEL), let("metric:auc"), answer or Busy("asking"))):
        assert decision.status.phase is Phase.GATING
        assert not any(isinstance(action, RunVersion) and action.pin.version == "8" for action in decision.actions)
        assert all(action.split.weight("8") == 0 for action in decision.actions if isinstance(action, SetTraffic))


def test_a_stable_version_that_the_registry_lost_refuses_what_must_be_compatible_with_it() -> None:
    decision = gated(
        Value(MODEL), let("metric:auc"), NoData("VersionNotFound", "the registry has no version 7 of fraud")
    )
    assert decision.status.phase is Phase.REJECTED
    assert "compatibility: there is nothing to compare the signature with" in decision.status.message
