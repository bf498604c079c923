"""`modelramp explain`: what a person reads at each phase of a rollout."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelramp.api import Problem
from modelramp.explain import Subject, explain
from modelramp.ports import Ref
from modelramp.rollout.spec import Plan, Shadow, Spec, Step
from modelramp.rollout.status import (
    Attempt,
    AttemptKind,
    Condition,
    GateResult,
    GuardrailState,
    Phase,
    Pin,
    Record,
    Rejection,
    Status,
    VerdictKind,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAN = Plan(
    shadow=Shadow(percent=100, duration=24 * HOUR),
    steps=(Step(1, HOUR, 2000), Step(10, HOUR), Step(50, 2 * HOUR, approval=True), Step(100, HOUR)),
)
ATTEMPT = Attempt("a", "8", AttemptKind.FRESH, "f", PLAN, NOW - 3 * HOUR, NOW - timedelta(minutes=12), step=1)
RAMPING = Status(
    phase=Phase.RAMPING,
    reason="Holding",
    message="Step 2 of 4 (10 %): held for 1h",
    observed_generation=3,
    stable=Pin("7"),
    candidate=Pin("8"),
    previous=(Pin("6"), Pin("5")),
    attempt=ATTEMPT,
    weight=10,
    guardrails=(
        GuardrailState("errors", VerdictKind.PASS, "Within", "", NOW - timedelta(minutes=9)),
        GuardrailState("drift", VerdictKind.NO_DATA, "EmptyResult", "no series", NOW - timedelta(seconds=40), 1),
    ),
    history=(Record(NOW - 2 * HOUR, "8", "GatesPassed", "every gate passed"),),
)
SPEC = Spec("fraud_detector", "8", plan=PLAN)


def said(status: Status, spec: Spec | Problem = SPEC, generation: int = 3) -> dict[str, str]:
    """Return each paragraph by its word, as it is printed."""
    text = explain(Subject(Ref("team", "fraud"), generation, spec, status), NOW)
    head, _, body = text.partition("\n\n")
    assert head == "ModelDeployment team/fraud"
    paragraphs: dict[str, str] = {}
    for line in body.splitlines():
        word, rest = line[:12].strip(), line[12:]
        key = word or next(reversed(paragraphs))
        paragraphs[key] = f"{paragraphs[key]}\n{rest}" if not word else rest
    return paragraphs


def test_in_the_middle_of_a_ramp() -> None:
    account = said(RAMPING)
    assert account["Runs"] == "version 7 answers 90 % of the requests, version 8 answers 10 % of the requests"
    assert account["Phase"] == "Ramping, step 2 of 4 (10 %) for 12m"
    assert account["Why"] == "Holding: Step 2 of 4 (10 %): held for 1h"
    assert account["Next"] == "after this step: step 3 of 4, 50 %, held for 2h, your approval at its end"
    assert account["Warm"] == "was stable before: version 6, 5"
    assert account["Happened"] == "2h ago  GatesPassed (version 8): every gate passed"


def test_guardrails_say_their_verdict_and_since_when() -> None:
    assert said(RAMPING)["Guardrails"].splitlines() == [
        "errors: Pass for 9m",
        "drift: NoData for 40s, 1 failed; no series",
    ]


def test_the_way_to_stop_it_can_be_copied() -> None:
    command = """kubectl -n team patch mdep fraud --type merge -p '{"spec":{"abort":"8"}}'"""
    assert command in said(RAMPING)["You can"]


def test_an_approval_is_asked_for_in_the_words_of_the_status() -> None:
    message = 'Step 3 of 4 (50 %): waiting for approval: set spec.approve to "8/50"'
    waiting = replace(RAMPING, reason="AwaitingApproval", message=message)
    assert 'set spec.approve to "8/50"' in said(waiting)["You can"]


def test_the_last_step_leads_to_promotion() -> None:
    last = replace(RAMPING, attempt=replace(ATTEMPT, step=3))
    assert said(last)["Next"] == "after this step: it becomes stable"


def test_in_the_shadow_the_candidate_answers_nobody() -> None:
    account = said(replace(RAMPING, phase=Phase.SHADOWING, weight=0))
    assert account["Runs"] == "version 7 answers every request; version 8 gets copies"
    assert account["Next"] == "after the shadow: step 1 of 4, 1 %, held for 1h, at least 2000 requests"


def test_before_any_version_was_stable() -> None:
    account = said(Status(observed_generation=3))
    assert account["Runs"] == "no version answers requests yet"
    assert account["Next"] == "version 8 is judged by the gates"


@pytest.mark.parametrize(
    ("status", "following"),
    [
        (RAMPING, "once its pods are ready: a shadow at 100 %"),
        (replace(RAMPING, attempt=replace(ATTEMPT, plan=replace(PLAN, shadow=None))), "step 1 of 4, 1 %"),
        (replace(RAMPING, stable=None), "once its pods are ready: all traffic"),
    ],
)
def test_while_pods_start_it_says_what_they_start_for(status: Status, following: str) -> None:
    assert following in said(replace(status, phase=Phase.STARTING, weight=0))["Next"]


def test_promoted_with_the_way_back() -> None:
    account = said(Status(Phase.PROMOTED, "Promoted", "", 3, stable=Pin("8"), previous=(Pin("7"),)))
    assert account["Runs"] == "version 8 answers every request"
    assert account["Next"] == "nothing; the guardrails go on watching"
    back = """kubectl -n team patch mdep fraud --type merge -p '{"spec":{"model":{"version":"7"}}}'"""
    assert account["You can"] == f"go back to version 7: {back}"


@pytest.mark.parametrize(("retry", "anew"), [("", "1"), ("1", "2"), ("2", "3"), ("dns-was-down", "1")])
def test_rolled_back_with_what_is_not_tried_again_and_how_to(retry: str, anew: str) -> None:
    rejected = (Rejection("8", "f", "Breach", "guardrail errors: 0.09, at most 0.02", NOW),)
    status = Status(Phase.ROLLED_BACK, "Breach", "guardrail errors", 3, stable=Pin("7"), rejected=rejected)
    account = said(status, replace(SPEC, retry=retry))
    assert account["Not tried"] == "version 8: guardrail errors: 0.09, at most 0.02"
    assert account["Next"] == "nothing, until the spec changes or spec.retry gets a new value"
    assert f'{{"spec":{{"retry":"{anew}"}}}}' in account["You can"]


def test_another_try_after_an_abort_takes_the_abort_away() -> None:
    status = replace(RAMPING, phase=Phase.ROLLED_BACK, reason="Aborted", candidate=None)
    account = said(status, replace(SPEC, abort=SPEC.version))
    assert '{"spec":{"retry":"1","abort":null}}' in account["You can"]


def test_a_split_that_is_not_in_effect_is_told() -> None:
    late = Condition("TrafficConverged", "False", "WaitingForRouter", "stored, not yet taken up", 3, NOW)
    assert said(replace(RAMPING, conditions=(late,)))["Why"].splitlines()[1] == (
        "WaitingForRouter: stored, not yet taken up"
    )


def test_a_spec_that_nobody_has_seen_yet() -> None:
    assert "the operator has not seen the newest spec yet" in said(RAMPING, generation=4)["Why"]


def test_a_spec_that_cannot_be_used_names_the_field() -> None:
    account = said(RAMPING, Problem("spec.model.version", "8.5", "should be a valid string"))
    assert account["Why"] == "the spec cannot be used: spec.model.version: 8.5: should be a valid string"
    assert account["Next"] == "correct the spec; what runs stays"
    assert "You can" not in account


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_can_be_explained(phase: Phase) -> None:
    assert said(replace(RAMPING, phase=phase))["Next"]


def test_gates_that_did_not_pass_by_themselves_are_listed_with_their_reasons() -> None:
    failed = GateResult("metric:auc", False, "MetricBelowMin", "auc 0.8, min 0.9")
    let = replace(failed, gate="tag:team", passed=True, overridden=True, override="until 2026-12-31T18:00:00Z: agreed")
    good = GateResult("name", True, "ProductName", "fraud")
    attempt = replace(ATTEMPT, gates=(failed, let, good))
    assert said(replace(RAMPING, attempt=attempt))["Gates"].splitlines() == [
        "metric:auc: MetricBelowMin: auc 0.8, min 0.9",
        "tag:team: MetricBelowMin: auc 0.8, min 0.9; overridden until 2026-12-31T18:00:00Z: agreed",
    ]
