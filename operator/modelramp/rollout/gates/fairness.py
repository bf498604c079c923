"""Fairness by fairlearn's names, and coverage: shares and differences that must have been logged."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modelramp.rollout.gates.case import Case, at_most, fails, number, passes, spot
from modelramp.rollout.gates.metrics import find, missing
from modelramp.rollout.gates.spec import CoverageGate, FairnessGate
from modelramp.rollout.observation import Metric, ModelVersion
from modelramp.rollout.status import GateResult

_RANGES = {"_ratio": (0.0, 1.0), "_difference": (0.0, math.inf)}
"""What fairlearn's functions return: a ratio is of the least to the greatest, a difference is never negative."""


def judge_fairness(case: Case) -> Iterator[GateResult]:
    """Judge each fairness gate on the metric and on every group of it; the worst value is the evidence."""
    for gate in case.gates.fairness:
        name, bound = f"fairness:{gate.metric}", _bound(gate)
        found = _values(case.candidate, gate.metric)
        lacking = [group for group in gate.groups if not find(case.candidate, f"{gate.metric}/{group}")]
        if not found or lacking:
            key = f"{gate.metric}/{lacking[0]}" if lacking else gate.metric
            yield fails(name, "FairnessMissing", missing(case.candidate, key), bound=bound)
            continue
        bad = [(each, fault) for each in found if (fault := _fault(gate, each))]
        worst, reason = bad[0] if bad else (_worst(gate, found), "FairnessInBounds")
        said = ", ".join(f"{each.key} {number(each.value)}" for each in ([each for each, _ in bad] or [worst]))
        judged = fails if bad else passes
        yield judged(name, reason, f"{said}, {bound}", number(worst.value), bound, spot(worst))


def _bound(gate: FairnessGate) -> str:
    return f"min {number(gate.min)}" if gate.min is not None else f"max {number(gate.max or 0)}"


def _values(model: ModelVersion, metric: str) -> list[Metric]:
    groups = dict.fromkeys(each.key for each in model.metrics if each.key.startswith(f"{metric}/"))
    return [value for key in (metric, *groups) for value in find(model, key)]


def _fault(gate: FairnessGate, found: Metric) -> str:
    """Return the reason for which a value fails, "" for one that passes."""
    least, greatest = next(
        (given for end, given in _RANGES.items() if gate.metric.endswith(end)), (-math.inf, math.inf)
    )
    if not math.isfinite(found.value):
        return "FairnessNotFinite"
    if found.value < least or not at_most(found.value, greatest):
        return "FairnessOutOfRange"
    holds = at_most(gate.min, found.value) if gate.min is not None else at_most(found.value, gate.max or 0)
    return "" if holds else "FairnessBroken"


def _worst(gate: FairnessGate, found: list[Metric]) -> Metric:
    return min(found, key=lambda each: each.value if gate.min is not None else -each.value)


def judge_coverage(case: Case) -> Iterator[GateResult]:
    """Judge each share of evaluation rows or segments that was covered."""
    for gate in case.gates.coverage:
        found = find(case.candidate, gate.metric)
        name, bound = f"coverage:{gate.metric}", f"min {number(gate.min)}"
        if found:
            yield _share(gate, found[0], name, bound)
        else:
            yield fails(name, "CoverageMissing", missing(case.candidate, gate.metric), bound=bound)


def _share(gate: CoverageGate, found: Metric, name: str, bound: str) -> GateResult:
    details = f"{found.key} {number(found.value)}, {bound}", number(found.value), bound, spot(found)
    if not (found.value >= 0 and at_most(found.value, 1)):  # NaN is in no range
        return fails(name, "NotAShare", *details)
    if not at_most(gate.min, found.value):
        return fails(name, "CoverageBelowMin", *details)
    return passes(name, "CoverageInBounds", *details)
