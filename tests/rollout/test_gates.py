"""Gates, one line a version: what is wrong with it, and the reason that its user reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelramp.rollout.gates.chain import Case, judge_gates
from modelramp.rollout.gates.spec import Gates, MetricGate, SignatureGate
from modelramp.rollout.observation import Metric, ModelVersion

GOOD = ModelVersion(
    "fraud_detector",
    "8",
    "run",
    "models:/m-8",
    "1",
    "READY",
    "sha256:8",
    True,
    (Metric("auc", 0.95), Metric("p99_ms", 40)),
)
STABLE = replace(GOOD, version="7", metrics=(Metric("auc", 0.94), Metric("p99_ms", 30)))
GATES = Gates(
    (MetricGate("auc", min=0.92), MetricGate("auc", max_drop=0.01), MetricGate("p99_ms", max=50, max_increase=15))
)


def auc(value: float) -> ModelVersion:
    return replace(GOOD, metrics=(Metric("auc", value), Metric("p99_ms", 40)))


BAD = {
    "version in the name": (replace(GOOD, name="fraud_detector_v2"), "VersionInName"),
    "final in the name": (replace(GOOD, name="fraud_detector_final"), "VersionInName"),
    "a date in the name": (replace(GOOD, name="fraud-2024-01-01"), "VersionInName"),
    "new in the name": (replace(GOOD, name="fraud-new"), "VersionInName"),
    "no product's name": (replace(GOOD, name="1fraud"), "NotAProductName"),
    "not ready": (replace(GOOD, status="PENDING_REGISTRATION"), "VersionNotReady"),
    "no signature": (replace(GOOD, has_signature=False), "SignatureMissing"),
    "below the floor": (auc(0.9), "MetricBelowMin"),
    "worse than stable": (auc(0.925), "MetricDropped"),
    "NaN": (auc(float("nan")), "MetricNotFinite"),
    "infinite": (auc(float("inf")), "MetricNotFinite"),
    "not logged": (replace(GOOD, metrics=(Metric("p99_ms", 40),)), "MetricMissing"),
    "training metric is not the metric": (
        replace(GOOD, metrics=(Metric("training_auc", 0.99), Metric("p99_ms", 40))),
        "MetricMissing",
    ),
    "too slow": (replace(GOOD, metrics=(Metric("auc", 0.95), Metric("p99_ms", 51))), "MetricAboveMax"),
    "much slower than stable": (replace(GOOD, metrics=(Metric("auc", 0.95), Metric("p99_ms", 46))), "MetricIncreased"),
}


def failures(model: ModelVersion, stable: ModelVersion | None = STABLE) -> list[str]:
    return [result.reason for result in judge_gates(Case(GATES, model, stable)) if not result.passed]


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_version_is_refused_for_its_own_reason(fault: str) -> None:
    model, reason = BAD[fault]
    assert reason in failures(model)


def test_a_good_version_passes_with_evidence_for_every_gate() -> None:
    results = judge_gates(Case(GATES, GOOD, STABLE))
    assert not failures(GOOD)
    assert {result.gate for result in results} == {"name", "ready", "signature", "metric:auc", "metric:p99_ms"}
    assert all(result.message for result in results)


def test_every_gate_is_judged_also_after_one_has_failed() -> None:
    wrong = replace(GOOD, name="fraud_v2", has_signature=False, metrics=())
    assert {"VersionInName", "SignatureMissing", "MetricMissing"} <= set(failures(wrong))


def test_a_bound_is_met_at_the_bound_whatever_floats_say() -> None:
    assert "MetricDropped" not in failures(auc(0.93))
    assert "MetricBelowMin" not in failures(auc(0.92), None)


def test_the_first_version_has_nothing_to_be_compared_with() -> None:
    assert not failures(auc(0.93), None)


def test_a_stable_version_without_the_metric_fails_the_comparison_and_says_whose_it_is() -> None:
    assert failures(GOOD, replace(STABLE, metrics=())) == ["StableMetricMissing", "StableMetricMissing"]


def test_the_signature_may_be_waived_by_name() -> None:
    waived = replace(GATES, signature=SignatureGate(required=False))
    results = judge_gates(Case(waived, replace(GOOD, has_signature=False), STABLE))
    assert all(result.passed for result in results)
