"""A guardrail on answers to copied requests is asked where there are copies, and never passed over in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from modelramp.rollout.observation import ModelVersion, Value
from modelramp.rollout.rulebook import Rulebook
from modelramp.rollout.settle import Settled, Unsettled, settle
from modelramp.rollout.spec import Capture, Guardrail, Plan, Serving, Shadow, Spec
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Pin, Status
from modelramp.rollout.turn import watched

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SAME, ERRORS = Guardrail("same", "q", of_copies=True), Guardrail("errors", "q")
PLAN = Plan(shadow=Shadow(), guardrails=(SAME, ERRORS))
SPEC = Spec("fraud", "8", serving=Serving(capture=Capture()), plan=PLAN)
MODEL = Value(ModelVersion("fraud", "8", "run", "models:/m-1", "", "READY", "sha256:0"))


def attempt(plan: Plan = PLAN) -> Attempt:
    return Attempt("a", "8", AttemptKind.FRESH, "f", plan, NOW, NOW)


@pytest.mark.parametrize(
    ("phase", "asked"),
    [(Phase.SHADOWING, (SAME, ERRORS)), (Phase.RAMPING, (ERRORS,)), (Phase.PROMOTED, (ERRORS,))],
)
def test_it_is_asked_in_the_shadow_and_nowhere_else(phase: Phase, asked: tuple[Guardrail, ...]) -> None:
    status = Status(phase=phase, stable=Pin("7"), candidate=Pin("8"), attempt=attempt(), required=(SAME,))
    assert watched(SPEC, status) == asked


@pytest.mark.parametrize(
    ("spec", "plan", "lacking"),
    [
        (replace(SPEC, serving=Serving()), PLAN, "spec.serving.capture"),
        (SPEC, replace(PLAN, shadow=None), "spec.shadow"),
        (replace(SPEC, serving=Serving()), replace(PLAN, shadow=None), "spec.serving.capture and spec.shadow"),
    ],
)
def test_where_it_could_never_be_asked_nothing_begins(spec: Spec, plan: Plan, lacking: str) -> None:
    says = f"guardrail same compares answers to copied requests: give {lacking}"
    assert settle(attempt(plan), spec, MODEL, Value(Rulebook())) == Unsettled("AnswersNotCompared", says)


def test_a_version_that_returns_waits_for_no_comparison() -> None:
    returning = replace(attempt(), kind=AttemptKind.RETURN)
    assert isinstance(settle(returning, replace(SPEC, serving=Serving()), MODEL, Value(Rulebook())), Settled)


def test_where_it_can_be_asked_the_plan_holds() -> None:
    assert settle(attempt(), SPEC, MODEL, Value(Rulebook())) == Settled(PLAN)
