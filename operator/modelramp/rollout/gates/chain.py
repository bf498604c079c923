"""Offline gates: an ordered chain of named checks on a registry version, each with its evidence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelramp.rollout.gates.spec import Gates, MetricGate
from modelramp.rollout.observation import ModelVersion, NoData, Rules, Value
from modelramp.rollout.status import GateResult

PRODUCT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
VERSIONED_NAME = re.compile(r"(?i)(?:^|[_.-])(?:v\d+|final|new|old|tmp|\d{4}[-_.]?\d{2}[-_.]?\d{2})(?:$|[_.-])")
READY = "READY"
EPSILON = 1e-9
"""Bounds are inclusive to within float noise: 0.95 against 0.9 + 0.05 passes."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the gates of one attempt look at; `stable` is None when there is nothing to compare with."""

    gates: Gates
    candidate: ModelVersion
    stable: ModelVersion | None
    rules: Value[Rules] | NoData | None = None
    """The business rules; None where there are to be none."""


def judge_gates(case: Case) -> tuple[GateResult, ...]:
    """Evaluate every gate, also after one has failed: the user sees all there is to mend."""
    return tuple(result for check in CHAIN for result in check(case))


def _name(case: Case) -> Iterator[GateResult]:
    name = case.candidate.name
    if not PRODUCT_NAME.fullmatch(name):
        yield GateResult("name", False, "NotAProductName", f"{name!r} is no product name such as fraud_detector")
    elif found := VERSIONED_NAME.search(name):
        part = found[0].strip("_.-")
        message = f"{name!r} has {part!r} in it: the registry counts versions, the name is the product's"
        yield GateResult("name", False, "VersionInName", message)
    else:
        yield GateResult("name", True, "ProductName", name)


def _ready(case: Case) -> Iterator[GateResult]:
    status = case.candidate.status
    if status == READY:
        yield GateResult("ready", True, "VersionReady", f"version {case.candidate.version} is {READY}")
    else:
        yield GateResult(
            "ready", False, "VersionNotReady", f"version {case.candidate.version} is {status}, not {READY}"
        )


def _signature(case: Case) -> Iterator[GateResult]:
    if case.candidate.has_signature:
        yield GateResult("signature", True, "SignatureLogged", "the model has a signature")
    elif case.gates.signature.required:
        message = "the model has no signature in its MLmodel file; log it with `signature=infer_signature(...)`"
        yield GateResult("signature", False, "SignatureMissing", message)


def _metrics(case: Case) -> Iterator[GateResult]:
    for gate in case.gates.metrics:
        name = f"metric:{gate.metric}"
        value = logged(case.candidate, gate.metric)
        if value is None or not math.isfinite(value):
            yield GateResult(name, False, *_unusable(case.candidate, gate.metric, value))
            continue
        yield from (GateResult(name, *verdict) for verdict in _bounds(gate, value))
        yield from (GateResult(name, *verdict) for verdict in _changes(gate, value, case.stable))


def _unusable(model: ModelVersion, metric: str, value: float | None) -> tuple[str, str]:
    if value is None:
        looked = f"{metric!r} was not logged on the model or the run of version {model.version}"
        return "MetricMissing", looked
    return "MetricNotFinite", f"{metric!r} of version {model.version} is {value}"


def logged(model: ModelVersion, metric: str) -> float | None:
    """Return a logged metric's value, or None; the first entry wins: the model's own before its run's."""
    return next((found.value for found in model.metrics if found.key == metric), None)


def _bounds(gate: MetricGate, value: float) -> Iterator[tuple[bool, str, str]]:
    if gate.min is not None:
        passed = value >= gate.min - EPSILON
        yield passed, "MetricInBounds" if passed else "MetricBelowMin", f"{gate.metric} {value:.6g}, min {gate.min:.6g}"
    if gate.max is not None:
        passed = value <= gate.max + EPSILON
        yield passed, "MetricInBounds" if passed else "MetricAboveMax", f"{gate.metric} {value:.6g}, max {gate.max:.6g}"


def _changes(gate: MetricGate, value: float, stable: ModelVersion | None) -> Iterator[tuple[bool, str, str]]:
    if stable is None or (gate.max_drop is None and gate.max_increase is None):
        return
    baseline = logged(stable, gate.metric)
    if baseline is None or not math.isfinite(baseline):
        reason, message = _unusable(stable, gate.metric, baseline)
        yield False, f"Stable{reason}", message
        return
    against = f"{gate.metric} {value:.6g}, stable's {baseline:.6g}"
    if gate.max_drop is not None:
        passed = baseline - value <= gate.max_drop + EPSILON
        yield passed, "MetricHeld" if passed else "MetricDropped", f"{against}, maxDrop {gate.max_drop:.6g}"
    if gate.max_increase is not None:
        passed = value - baseline <= gate.max_increase + EPSILON
        yield passed, "MetricHeld" if passed else "MetricIncreased", f"{against}, maxIncrease {gate.max_increase:.6g}"


def _policy(case: Case) -> Iterator[GateResult]:
    match case.rules:
        case Value(rules) if rules.problem:
            yield GateResult("policy", False, "PolicyInvalid", rules.problem)
        case Value(rules):
            yield GateResult("policy", True, "PolicyValid", f"policy {rules.hash} can be used")
        case NoData(reason, message):
            yield GateResult("policy", False, reason, message)
        case None if case.gates.require_policy:
            message = "spec.policy names no ConfigMap with the business rules"
            yield GateResult("policy", False, "PolicyMissing", message)


CHAIN: tuple[Callable[[Case], Iterator[GateResult]], ...] = (_name, _ready, _signature, _metrics, _policy)
