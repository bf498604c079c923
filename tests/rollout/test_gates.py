"""Gates, one line a version: what is wrong with it, and the reason that its user reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelramp.rollout.gates.case import LONGEST_DETAIL, LONGEST_MESSAGE, Case
from modelramp.rollout.gates.catalog import ALIASES, BETTER, Better, direction
from modelramp.rollout.gates.chain import judge_gates
from modelramp.rollout.gates.spec import (
    CompareOn,
    CompatibleWith,
    CoverageGate,
    DecisionGate,
    FairnessGate,
    Gates,
    Lineage,
    LineageGate,
    MetricGate,
    NoteFor,
    Override,
    SignatureGate,
    TagGate,
)
from modelramp.rollout.observation import Dataset, Metric, ModelVersion, NoData, TrainingRun
from modelramp.rollout.signature import Field, Plain, Signature
from modelramp.rollout.status import GateResult

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOLDOUT = "holdout@d1"
SIGNED = Signature((Field("amount", Plain("double")), Field("hour", Plain("long"))), (Field("", Plain("double")),))
RUN = TrainingRun("run8", commit="c0ffee", parameters=3, datasets=(Dataset("train", "t1", {"features": "2026-10"}),))
TAGS = {"team": "fraud", "risk": "tier1", "decision": "less fraud at the same cost"}
FAIR = (Metric("demographic_parity_ratio", 0.9), Metric("demographic_parity_ratio/country", 0.85))


def logged(**values: float) -> tuple[Metric, ...]:
    usual = {"auc": 0.95, "p99_ms": 40.0, "coverage": 0.99} | values
    return (*(Metric(key, value, HOLDOUT, "run8") for key, value in usual.items()), *FAIR)


GOOD = ModelVersion(
    "fraud_detector", "8", "run8", "models:/m-8", "1", "READY", "sha256:8", SIGNED, logged(), TAGS, RUN
)  # fmt: skip
STABLE = replace(GOOD, version="7", metrics=logged(auc=0.94, p99_ms=30))
GATES = Gates(
    metrics=(MetricGate("auc", min=0.92), MetricGate("auc", max_drop=0.01), MetricGate("p99_ms", 1, 50, None, 15)),
    name_patterns=("fraud_[a-z]+",),
    fairness=(FairnessGate("demographic_parity_ratio", min=0.8, groups=("country",)),),
    coverage=(CoverageGate("coverage", 0.95),),
    lineage=LineageGate(tuple(Lineage), "features"),
    tags=(TagGate("team"), TagGate("risk", ("tier1", "tier2"))),
    decision=DecisionGate(),
)


def auc(value: float) -> ModelVersion:
    return replace(GOOD, metrics=logged(auc=value))


def without(key: str) -> ModelVersion:
    return replace(GOOD, metrics=tuple(metric for metric in GOOD.metrics if metric.key != key))


def also(key: str, value: float) -> ModelVersion:
    return replace(without(key), metrics=(*without(key).metrics, Metric(key, value)))


def tagged(**tags: str) -> ModelVersion:
    return replace(GOOD, tags={key: value for key, value in (TAGS | tags).items() if value})


def signed(*columns: Field) -> ModelVersion:
    return replace(GOOD, signature=replace(SIGNED, inputs=columns))


BAD = {
    "version in the name": (replace(GOOD, name="fraud_detector_v2"), "VersionInName"),
    "final in the name": (replace(GOOD, name="fraud_detector_final"), "VersionInName"),
    "a date in the name": (replace(GOOD, name="fraud-2024-01-01"), "VersionInName"),
    "new in the name": (replace(GOOD, name="fraud-new"), "VersionInName"),
    "no product's name": (replace(GOOD, name="fraud/8"), "NotAProductName"),
    "another product's name": (replace(GOOD, name="churn_model"), "NameDoesNotMatch"),
    "not ready": (replace(GOOD, status="PENDING_REGISTRATION"), "VersionNotReady"),
    "a run that goes on": (replace(GOOD, run=replace(RUN, status="RUNNING")), "RunNotFinished"),
    "a run that failed": (replace(GOOD, run=replace(RUN, status="FAILED")), "RunNotFinished"),
    "a run in the bin": (replace(GOOD, run=replace(RUN, stage="deleted")), "RunNotFinished"),
    "a run that is gone": (replace(GOOD, run=None), "RunNotFound"),
    "deprecated": (tagged(deprecated="true"), "Deprecated"),
    "sunset passed": (tagged(sunset_on="2026-11-25"), "SunsetPassed"),
    "sunset unreadable": (tagged(sunset_on="next year"), "SunsetUnreadable"),
    "no signature": (replace(GOOD, signature=None), "SignatureMissing"),
    "an unreadable signature": (replace(GOOD, signature=None, signature_fault="cannot be read"), "SignatureUnreadable"),
    "a narrowed column": (
        signed(Field("amount", Plain("float")), Field("hour", Plain("long"))),
        "SignatureIncompatible",
    ),
    "a new column": (signed(*(SIGNED.inputs or ()), Field("country", Plain("string"))), "SignatureIncompatible"),
    "below the floor": (auc(0.9), "MetricBelowMin"),
    "worse than stable": (auc(0.925), "MetricDropped"),
    "NaN": (auc(float("nan")), "MetricNotFinite"),
    "infinite": (auc(float("inf")), "MetricNotFinite"),
    "not logged": (without("auc"), "MetricMissing"),
    "training metric is not the metric": (
        replace(without("auc"), metrics=(Metric("training_auc", 1),)),
        "MetricMissing",
    ),
    "measured on other rows": (replace(GOOD, metrics=(Metric("auc", 0.99, "holdout@d2"),)), "DatasetDiffers"),
    "measured on nobody knows what": (replace(GOOD, metrics=(Metric("auc", 0.99),)), "DatasetDiffers"),
    "too slow": (replace(GOOD, metrics=logged(p99_ms=51)), "MetricAboveMax"),
    "much slower than stable": (replace(GOOD, metrics=logged(p99_ms=46)), "MetricIncreased"),
    "unfair": (also("demographic_parity_ratio", 0.7), "FairnessBroken"),
    "unfair to one group": (also("demographic_parity_ratio/age", 0.7), "FairnessBroken"),
    "a ratio over 1": (also("demographic_parity_ratio", 1.4), "FairnessOutOfRange"),
    "fairness is NaN": (also("demographic_parity_ratio", float("nan")), "FairnessNotFinite"),
    "a group is missing": (without("demographic_parity_ratio/country"), "FairnessMissing"),
    "little coverage": (also("coverage", 0.9), "CoverageBelowMin"),
    "coverage in percent": (also("coverage", 99.0), "NotAShare"),
    "no coverage": (without("coverage"), "CoverageMissing"),
    "no commit": (replace(GOOD, run=replace(RUN, commit="")), "GitCommitMissing"),
    "a dirty commit": (replace(GOOD, run=replace(RUN, dirty=True)), "GitTreeDirty"),
    "no dataset": (replace(GOOD, run=replace(RUN, datasets=())), "DatasetsMissing"),
    "a dataset without digest": (replace(GOOD, run=replace(RUN, datasets=(Dataset("train", ""),))), "DatasetsMissing"),
    "no feature table": (replace(GOOD, run=replace(RUN, datasets=(Dataset("train", "t1"),))), "FeatureTablesMissing"),
    "no parameters": (replace(GOOD, run=replace(RUN, parameters=0)), "ParametersMissing"),
    "no team": (tagged(team=""), "TagMissing"),
    "an unknown risk": (tagged(risk="low"), "TagNotAllowed"),
    "no reason given": (tagged(decision=""), "DecisionMissing"),
    "no reason given, and no risk": (tagged(decision="", risk=""), "DecisionMissing"),
}


def judged(
    model: ModelVersion, stable: ModelVersion | NoData | None = STABLE, gates: Gates = GATES
) -> list[GateResult]:
    return list(judge_gates(Case(gates, model, stable, NOW)))


def failures(model: ModelVersion, stable: ModelVersion | NoData | None = STABLE, gates: Gates = GATES) -> list[str]:
    return [result.reason for result in judged(model, stable, gates) if not result.passed]


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_version_is_refused_for_its_own_reason(fault: str) -> None:
    model, reason = BAD[fault]
    assert reason in failures(model)


def test_a_good_version_passes_with_evidence_for_every_gate() -> None:
    results = judged(GOOD)
    assert not failures(GOOD)
    assert {result.gate for result in results} == {
        "name", "ready", "run", "deprecated", "sunset", "signature", "compatibility", "metric:auc", "metric:p99_ms",
        "fairness:demographic_parity_ratio", "coverage:coverage", "lineage:GitCommit", "lineage:Datasets",
        "lineage:FeatureTables", "lineage:Parameters", "lineage:Run", "tag:team", "tag:risk", "decision",
    }  # fmt: skip
    assert all(result.message for result in results)


def test_a_result_says_the_value_the_bound_and_where_the_value_was_found() -> None:
    floor, change = (result for result in judged(GOOD) if result.gate == "metric:auc")
    assert (floor.value, floor.bound, floor.source) == ("0.95", "min 0.92", "auc on dataset holdout@d1, run run8")
    assert (change.bound, change.message) == ("maxDrop 0.01 from 0.94", "auc 0.95, stable's 0.94, maxDrop 0.01")
    assert "stable's auc on dataset holdout@d1" in change.source


def test_every_gate_is_judged_also_after_one_has_failed() -> None:
    wrong = replace(GOOD, name="fraud_v2", signature=None, metrics=(), run=None, tags={})
    assert set(failures(wrong)) == {
        "VersionInName", "RunNotFound", "SignatureMissing", "MetricMissing", "FairnessMissing", "CoverageMissing",
        "TagMissing", "DecisionMissing",
    }  # fmt: skip


def test_what_is_not_asked_for_is_not_judged() -> None:
    bare = replace(GOOD, metrics=(), tags={}, run_id="", run=None)
    results = judged(bare, None, Gates())
    assert [result.gate for result in results] == ["name", "ready", "deprecated", "sunset", "signature"]
    assert all(result.passed for result in results)


def test_a_bound_is_met_at_the_bound_whatever_floats_say() -> None:
    assert "MetricDropped" not in failures(auc(0.93))
    assert "MetricBelowMin" not in failures(auc(0.92), None)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_a_bound_on_numbers_of_any_size_means_what_it_says(size: float) -> None:
    limits = (
        MetricGate("loss", max=1.01 * size),
        MetricGate("loss", min=0.99 * size),
        MetricGate("loss", max_increase=0.005 * size),
    )
    gates = Gates(metrics=limits)
    old = replace(STABLE, metrics=(Metric("loss", size, "holdout@d1"),))

    def found(times: float) -> list[str]:
        reasons = failures(replace(GOOD, metrics=(Metric("loss", times * size, "holdout@d1"),)), old, gates)
        return [reason for reason in reasons if reason.startswith("Metric")]

    assert found(1.0) == found(1.005) == []
    assert found(1.0051) == ["MetricIncreased"]
    assert found(1.0101) == ["MetricAboveMax", "MetricIncreased"]
    assert found(0.9899) == ["MetricBelowMin"]


def test_a_drop_of_nothing_allows_none() -> None:
    gates = Gates(metrics=(MetricGate("auc", max_drop=0.0),))
    assert failures(auc(0.94), STABLE, gates) == []
    assert failures(auc(0.94 - 1e-10), STABLE, gates) == ["MetricDropped"]


def test_a_version_without_a_signature_that_may_have_none_is_told_and_never_breaks_clients_unseen() -> None:
    optional = Gates(signature=SignatureGate(required=False))
    unsigned = replace(GOOD, signature=None)
    said = {result.gate: (result.passed, result.reason) for result in judged(unsigned, STABLE, optional)}
    assert said["signature"] == (True, "SignatureNotRequired")
    assert said["compatibility"] == (False, "CandidateUnsigned")
    assert failures(unsigned, replace(STABLE, signature=None), optional) == []
    off = Gates(signature=SignatureGate(required=False, compatible_with=CompatibleWith.NONE))
    assert failures(unsigned, STABLE, off) == []
    assert failures(signed(Field("another", Plain("string"))), STABLE, off) == []


def test_the_first_version_has_nothing_to_be_compared_with() -> None:
    assert not failures(auc(0.93), None)


def test_a_stable_version_without_the_metric_fails_the_comparison_and_says_whose_it_is() -> None:
    assert failures(GOOD, replace(STABLE, metrics=())) == ["StableMetricMissing", "StableMetricMissing"]


def test_a_stable_version_that_the_registry_lost_fails_what_compares_with_it() -> None:
    lost = NoData("VersionNotFound", "the registry has no version 7 of fraud_detector")
    assert failures(GOOD, lost) == ["StableNotFound"] * 3


def test_a_stable_value_that_is_nan_is_nothing_to_compare_with() -> None:
    assert failures(GOOD, replace(STABLE, metrics=logged(auc=float("nan")))) == ["StableMetricNotFinite"]


def change(metric: str, stable: float, new: float, **bounds: float) -> list[str]:
    gates = Gates(metrics=(MetricGate(metric, **bounds),))  # type: ignore[arg-type]
    return failures(
        replace(GOOD, metrics=(Metric(metric, new, HOLDOUT),)),
        replace(STABLE, metrics=(Metric(metric, stable, HOLDOUT),)),
        gates,
    )


@pytest.mark.parametrize(
    ("stable", "new", "bounds", "reason"),
    [
        (0.8, 0.76, {"max_drop_ratio": 0.05}, None),
        (0.8, 0.75, {"max_drop_ratio": 0.05}, "MetricDropped"),
        (40, 48, {"max_increase_ratio": 0.2}, None),
        (40, 48.1, {"max_increase_ratio": 0.2}, "MetricIncreased"),
        (-2, -2.1, {"max_drop_ratio": 0.05}, None),
        (-2, -2.2, {"max_drop_ratio": 0.05}, "MetricDropped"),
        (0, 0, {"max_drop_ratio": 0.5}, None),
        (0, -0.001, {"max_drop_ratio": 0.5}, "MetricDropped"),
        (0.5, float("nan"), {"max_drop_ratio": 0.5}, "MetricNotFinite"),
    ],
)
def test_a_ratio_is_a_part_of_the_stable_value(
    stable: float, new: float, bounds: dict[str, float], reason: str | None
) -> None:
    assert change("uplift", stable, new, **bounds) == ([reason] if reason else [])


def test_a_comparison_is_made_on_the_dataset_that_both_have() -> None:
    new = replace(GOOD, metrics=(Metric("auc", 0.5, "other@d9"), Metric("auc", 0.95, HOLDOUT)))
    assert not failures(new, STABLE, Gates(metrics=(MetricGate("auc", max_drop=0.01),)))


def test_a_dataset_may_have_another_name_as_long_as_its_digest_is_the_same() -> None:
    renamed = replace(GOOD, metrics=(Metric("auc", 0.95, "test@d1"),))
    assert not failures(renamed, STABLE, Gates(metrics=(MetricGate("auc", max_drop=0.01),)))


def test_the_user_may_compare_across_datasets_by_name() -> None:
    gate = MetricGate("auc", max_drop=0.01, compare_on=CompareOn.ANY_DATASET)
    bare = replace(GOOD, metrics=(Metric("auc", 0.95),))
    assert not failures(bare, STABLE, Gates(metrics=(gate,)))


def test_a_gate_may_name_the_dataset_it_wants() -> None:
    both = replace(GOOD, metrics=(Metric("auc", 0.5, "hard@d2"), Metric("auc", 0.95, HOLDOUT)))
    assert failures(both, None, Gates(metrics=(MetricGate("auc", min=0.9, dataset="hard"),))) == ["MetricBelowMin"]
    missing = judged(both, None, Gates(metrics=(MetricGate("auc", min=0.9, dataset="easy"),)))[-1]
    assert (missing.reason, "on dataset 'easy'" in missing.message) == ("MetricMissing", True)


@pytest.mark.parametrize(("metric", "key"), [(name, key) for name, keys in ALIASES.items() for key in keys])
def test_a_usual_name_finds_what_mlflow_logs_and_never_what_it_logs_of_the_training(metric: str, key: str) -> None:
    gates = Gates(metrics=(MetricGate(metric, min=0.5),))
    assert not failures(replace(GOOD, metrics=(Metric(key, 0.9),)), None, gates)
    lying = replace(GOOD, metrics=(Metric(f"training_{key}", 0.9), Metric(f"training_{metric}", 0.9)))
    (missing,) = (result for result in judged(lying, None, gates) if not result.passed)
    assert (missing.reason, repr(metric) in missing.message, repr(key) in missing.message) == (
        "MetricMissing",
        True,
        True,
    )


def test_the_name_itself_comes_before_its_other_names() -> None:
    both = replace(GOOD, metrics=(Metric("roc_auc", 0.99), Metric("auc", 0.5)))
    assert failures(both, None, Gates(metrics=(MetricGate("auc", min=0.9),))) == ["MetricBelowMin"]


def test_ranking_metrics_are_found_by_mlflows_name() -> None:
    ranked = replace(GOOD, metrics=(Metric("ndcg_at_10/mean", 0.8),))
    assert not failures(ranked, None, Gates(metrics=(MetricGate("ndcg_at_10", min=0.7),)))


def test_every_usual_name_has_its_direction() -> None:
    names = (
        "accuracy precision recall f1 auc aupr mse rmse mae r2 mape ndcg map mrr p50_ms p95_ms p99_ms throughput_rps"
    )
    assert set(names.split()) | {"logloss"} == set(BETTER)
    assert (direction("roc_auc"), direction("root_mean_squared_error")) == (Better.HIGHER, Better.LOWER)
    assert (direction("ndcg_at_10"), direction("profit")) == (Better.HIGHER, None)


def test_a_bound_against_what_is_better_is_kept_and_remarked_on() -> None:
    (result,) = (
        each
        for each in judged(auc(0.99), STABLE, Gates(metrics=(MetricGate("auc", max_increase=0.01),)))
        if not each.passed
    )
    assert (result.reason, result.message.endswith("(for auc, higher is better)")) == ("MetricIncreased", True)


def test_a_difference_is_never_negative() -> None:
    gates = Gates(fairness=(FairnessGate("equalized_odds_difference", max=0.1),))
    assert failures(also("equalized_odds_difference", -0.3), None, gates) == ["FairnessOutOfRange"]
    assert not failures(also("equalized_odds_difference", 0.0), None, gates)


def test_a_version_without_a_run_has_no_lineage() -> None:
    bare = replace(GOOD, run_id="", run=None)
    assert failures(bare) == ["RunNotFound"] * len(Lineage)


def test_a_sunset_that_is_ahead_passes() -> None:
    assert not failures(tagged(sunset_on="2026-11-26"))


@pytest.mark.parametrize("no", ["false", "False", "no", "0", " "])
def test_what_is_not_deprecated_may_say_so(no: str) -> None:
    assert not failures(tagged(deprecated=no))


def test_a_note_may_be_a_description_or_a_file_and_is_not_needed_for_little_risk() -> None:
    assert not failures(replace(tagged(decision=""), description="as agreed on Monday"))
    assert not failures(replace(tagged(decision=""), files=("MLmodel", "decision.md")))
    assert not failures(tagged(decision="", risk="tier2"))
    assert failures(tagged(decision="", risk="tier2"), STABLE, replace(GATES, decision=DecisionGate(NoteFor.ALL))) == [
        "DecisionMissing"
    ]


def test_an_incompatible_signature_names_the_columns() -> None:
    (result,) = (each for each in judged(signed(Field("amount", Plain("integer")))) if not each.passed)
    assert "inputs/amount: double -> integer" in result.message
    assert "version 7" in result.message


def let(gate: str, until: datetime = NOW + timedelta(days=1)) -> Gates:
    return replace(GATES, overrides=(Override(gate, "the holdout was redrawn", until),))


def test_an_override_lets_its_gate_pass_and_no_other_and_says_why() -> None:
    bad = replace(auc(0.9), name="fraud_v2")
    assert failures(bad, STABLE, let("metric:auc")) == ["VersionInName"]
    used = [result for result in judged(bad, STABLE, let("metric:auc")) if result.overridden]
    assert [result.reason for result in used] == ["MetricBelowMin", "MetricDropped"]
    assert {result.override for result in used} == {"until 2026-11-26T12:00:00Z: the holdout was redrawn"}


def test_an_override_that_is_over_helps_nobody_and_says_so() -> None:
    results = [result for result in judged(auc(0.9), STABLE, let("metric:auc", NOW)) if not result.passed]
    assert [result.overridden for result in results] == [False, False]
    assert all("(the override held until 2026-11-25T12:00:00Z)" in result.message for result in results)


def test_a_gate_that_passes_by_itself_needs_no_override() -> None:
    assert not any(result.overridden for result in judged(GOOD, STABLE, let("metric:auc")))


def test_a_result_is_bounded_whatever_the_registry_says() -> None:
    long = tagged(decision="x" * 5000, team="y" * 5000, sunset_on="z" * 5000)
    for result in judged(replace(long, run=replace(RUN, commit="c" * 5000))):
        assert len(result.message) <= LONGEST_MESSAGE
        assert all(len(text) <= LONGEST_DETAIL for text in (result.value, result.bound, result.source))
