"""Guardrails, one line a case: what was answered, and what that is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelramp.rollout.guardrails import (
    Evidence,
    Scope,
    Tally,
    blind,
    breached,
    due,
    gather,
    judge,
    remembered,
    restore,
    tally,
)
from modelramp.rollout.observation import Failed, Measurement, NoData, Reading, Value
from modelramp.rollout.spec import Bounds, FailureLimit, FailureMode, Guardrail, OnNoData
from modelramp.rollout.status import VerdictKind

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MAX = Guardrail("errors", "q", Bounds(max=0.05))
MIN = Guardrail("throughput", "q", Bounds(min=10))
COMPARED = Guardrail("errors", "q", compare=True, tolerance=1.2, slack=0.005)
PASS, FAIL, NO_DATA, INCONCLUSIVE = VerdictKind.PASS, VerdictKind.FAIL, VerdictKind.NO_DATA, VerdictKind.INCONCLUSIVE

CASES: list[tuple[str, Guardrail, Reading[float], Reading[float] | None, VerdictKind, str]] = [
    ("below max", MAX, Value(0.01), None, PASS, "WithinBounds"),
    ("at max", MAX, Value(0.05), None, PASS, "WithinBounds"),
    ("above max", MAX, Value(0.0501), None, FAIL, "OutOfBounds"),
    ("above min", MIN, Value(11), None, PASS, "WithinBounds"),
    ("below min", MIN, Value(9), None, FAIL, "OutOfBounds"),
    ("NaN", MAX, Value(float("nan")), None, NO_DATA, "NotANumber"),
    ("plus infinity is no breach by itself", MAX, Value(float("inf")), None, INCONCLUSIVE, "Infinite"),
    ("minus infinity is no pass", MAX, Value(float("-inf")), None, INCONCLUSIVE, "Infinite"),
    ("no series", MAX, NoData("EmptyResult", ""), None, NO_DATA, "EmptyResult"),
    ("no answer", MAX, Failed("Timeout", ""), None, NO_DATA, "Timeout"),
    ("as good as stable", COMPARED, Value(0.02), Value(0.02), PASS, "WithinBounds"),
    ("within the tolerance", COMPARED, Value(0.028), Value(0.02), PASS, "WithinBounds"),
    ("beyond it", COMPARED, Value(0.0291), Value(0.02), FAIL, "WorseThanStable"),
    ("one error where stable has none, within the slack", COMPARED, Value(0.004), Value(0.0), PASS, "WithinBounds"),
    ("stable has none, beyond the slack", COMPARED, Value(0.006), Value(0.0), FAIL, "WorseThanStable"),
    ("stable is silent", COMPARED, Value(0.0), NoData("EmptyResult", ""), INCONCLUSIVE, "NoBaseline"),
    ("stable is NaN", COMPARED, Value(0.0), Value(float("nan")), INCONCLUSIVE, "NoBaseline"),
]


@pytest.mark.parametrize(
    ("guardrail", "candidate", "baseline", "kind", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_an_answer_is_judged(
    guardrail: Guardrail, candidate: Reading[float], baseline: Reading[float] | None, kind: VerdictKind, reason: str
) -> None:
    verdict = judge(guardrail, Measurement("errors", NOW, candidate, baseline))
    assert (verdict.kind, verdict.reason) == (kind, reason)


def test_a_remembered_baseline_stands_in_where_stable_has_no_traffic() -> None:
    silent = Measurement("errors", NOW, Value(0.03), NoData("EmptyResult", ""))
    assert judge(COMPARED, silent, 0.02).kind is FAIL
    assert judge(COMPARED, silent, 0.03).kind is PASS


def answers(guardrail: Guardrail, *values: float | None) -> Tally:
    seen = Tally()
    for number, value in enumerate(values):
        reading: Reading[float] = NoData("EmptyResult", "") if value is None else Value(value)
        at = NOW + number * guardrail.interval
        seen = tally(guardrail, seen, judge(guardrail, Measurement("errors", at, reading)), at, counts=True)
    return seen


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        (FailureMode.CONSECUTIVE, (0.9, 0.0, 0.9), False),
        (FailureMode.CONSECUTIVE, (0.9, 0.9), True),
        (FailureMode.CONSECUTIVE, (0.9, None, 0.9), True),
        (FailureMode.TOTAL, (0.9, 0.0, 0.9), True),
        (FailureMode.TOTAL, (0.9, 0.0, 0.0), False),
    ],
)
def test_the_limit_counts_as_its_mode_says(mode: FailureMode, values: tuple[float | None, ...], expected: bool) -> None:
    guardrail = replace(MAX, failure_limit=FailureLimit(2, mode))
    assert breached(guardrail, answers(guardrail, *values)) is expected


def test_silence_between_two_passes_starts_the_passes_anew() -> None:
    assert answers(MAX, 0.0, 0.0, None, 0.0).passes == 1


@pytest.mark.parametrize(("what", "expected"), [(OnNoData.HOLD, False), (OnNoData.ROLLBACK, True)])
def test_silence_past_the_deadline_is_blindness_only_where_the_user_says_so(what: OnNoData, expected: bool) -> None:
    guardrail = replace(MAX, on_no_data=what, no_data_deadline=timedelta(minutes=5))
    seen = answers(guardrail, 0.0, None, None)
    since = NOW + guardrail.interval
    assert not blind(guardrail, seen, since + timedelta(minutes=4))
    assert blind(guardrail, seen, since + timedelta(minutes=5)) is expected


def test_passes_belong_to_one_stage_and_failures_to_the_attempt() -> None:
    guardrail = replace(MAX, failure_limit=FailureLimit(3, FailureMode.TOTAL))
    before = Evidence(Scope("attempt", "1", NOW), {"errors": Tally(passes=4, failures=2)})
    later = gather((guardrail,), before, (), Scope("attempt", "2", NOW)).of("errors")
    assert (later.passes, later.failures) == (0, 2)
    other = gather((guardrail,), before, (), Scope("another", "1", NOW)).of("errors")
    assert (other.passes, other.failures) == (0, 0)


def test_a_restart_keeps_failures_and_baselines() -> None:
    scope = Scope("attempt", "1", NOW)
    asked = Measurement("errors", NOW, Value(0.9), Value(0.02))
    before = gather((COMPARED,), Evidence(), (asked,), scope)
    after = restore(remembered((COMPARED,), (), before), scope, NOW).of("errors")
    assert (after.failures, after.baseline, after.passes) == (1, 0.02, 0)


def test_the_same_verdict_again_is_not_worth_writing() -> None:
    scope = Scope("attempt", "1", NOW)
    first = gather((MAX,), Evidence(), (Measurement("errors", NOW, Value(0.01)),), scope)
    states = remembered((MAX,), (), first)
    second = gather((MAX,), first, (Measurement("errors", NOW + MAX.interval, Value(0.02)),), scope)
    assert remembered((MAX,), states, second) is not states
    assert remembered((MAX,), states, second) == states


def test_a_guardrail_is_due_at_once_and_then_at_its_interval() -> None:
    assert due(MAX, Tally(), NOW) <= timedelta(0)
    assert due(MAX, Tally(asked_at=NOW), NOW + timedelta(seconds=5)) == timedelta(seconds=10)
