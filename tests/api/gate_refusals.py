"""What the API refuses of gates: what is wrong, the field that the answer names, and words in it."""

from __future__ import annotations

from typing import Any

from tests.api.refusals import Refusal


def _name(pattern: str, words: str) -> Refusal:
    path = "spec.gates.name.pattern"
    return Refusal(f"the name pattern {pattern}", {"spec.gates.name": {"pattern": pattern}}, path, words)


def _fairness(metric: str, **bounds: Any) -> dict[str, Any]:
    return {"spec.gates.fairness": [{"metric": metric, **bounds}]}


def _override(**changes: Any) -> dict[str, Any]:
    usual = {"gate": "metric:auc", "reason": "agreed with risk", "until": "2026-12-31T18:00:00Z"}
    return {"spec.gates.overrides": [usual | changes]}


_FAIRNESS = "spec.gates.fairness[0]"
_ONE_BOUND = "needs one bound: max for _difference"
_OVERRIDE = "spec.gates.overrides[0]"
_NO_MOMENT = "is no moment: write it in UTC"

GATES = (
    Refusal(
        "a gate on the training data",
        {"spec.gates.metrics": [{"metric": "training_accuracy", "min": 0.9}]},
        "spec.gates.metrics[0].metric",
        "'training_accuracy' was measured on the training data",
    ),
    Refusal(
        "a negative ratio",
        {"spec.gates.metrics": [{"metric": "auc", "maxDropRatio": -0.1}]},
        "spec.gates.metrics[0].maxDropRatio",
        "greater than or equal to 0",
    ),
    Refusal(
        "another dataset rule",
        {"spec.gates.metrics": [{"metric": "auc", "min": 0.9, "compareOn": "Holdout"}]},
        "spec.gates.metrics[0].compareOn",
        "SameDataset",
    ),
    Refusal(
        "compatible with the candidate",
        {"spec.gates.signature.compatibleWith": "Candidate"},
        "spec.gates.signature.compatibleWith",
        "Stable",
    ),
    _name("fraud_(", "is no regular expression"),
    _name("(a|b)+", "repeats or names a group"),
    _name("(?i)fraud", "repeats or names a group"),
    _name("a*b*c*d*e*", "is too much of an expression"),
    Refusal("no fairness metric", _fairness("auc", min=0.9), f"{_FAIRNESS}.metric", "'auc' is no fairness metric"),
    Refusal("a least difference", _fairness("equalized_odds_difference", min=0.1), _FAIRNESS, _ONE_BOUND),
    Refusal("a greatest ratio", _fairness("equalized_odds_ratio", max=0.8), _FAIRNESS, _ONE_BOUND),
    Refusal("both bounds", _fairness("equalized_odds_ratio", min=0.8, max=1), _FAIRNESS, _ONE_BOUND),
    Refusal(
        "coverage in percent",
        {"spec.gates.coverage": [{"min": 95}]},
        "spec.gates.coverage[0].min",
        "less than or equal to 1",
    ),
    Refusal(
        "unknown lineage",
        {"spec.gates.lineage": {"require": ["Commit"]}},
        "spec.gates.lineage.require[0]",
        "GitCommit",
    ),
    Refusal("no tags", {"spec.gates.tags": {"required": []}}, "spec.gates.tags.required", "at least 1"),
    Refusal(
        "a blank tag", {"spec.gates.tags": {"required": [{"key": " "}]}}, "spec.gates.tags.required[0].key", "blank"
    ),
    Refusal(
        "a note for some", {"spec.gates.decision": {"requiredFor": "Some"}}, "spec.gates.decision.requiredFor", "Tier1"
    ),
    Refusal("an unknown gate", _override(gate="auc"), f"{_OVERRIDE}.gate", "'auc' is no gate: write its name as"),
    Refusal("no reason", _override(reason=" "), f"{_OVERRIDE}.reason", "is no reason"),
    Refusal("no end", _override(until=""), f"{_OVERRIDE}.until", _NO_MOMENT),
    Refusal("a bare date", _override(until="2026-12-31"), f"{_OVERRIDE}.until", _NO_MOMENT),
    Refusal("no zone", _override(until="2026-12-31T18:00:00.0"), f"{_OVERRIDE}.until", _NO_MOMENT),
    Refusal("before all time", _override(until="1969-12-31T18:00:00Z"), f"{_OVERRIDE}.until", _NO_MOMENT),
    Refusal("no such day", _override(until="2026-02-30T18:00:00Z"), f"{_OVERRIDE}.until", _NO_MOMENT),
)
