"""Metrics: bounds on what was logged, and on the change against the version that serves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from modelramp.rollout.gates.case import Case, at_most, fails, number, passes, spot
from modelramp.rollout.gates.catalog import TRAINING, Better, direction, names
from modelramp.rollout.gates.spec import CompareOn, MetricGate
from modelramp.rollout.observation import Metric, ModelVersion, NoData
from modelramp.rollout.status import GateResult


@dataclass(frozen=True, slots=True)
class Change:
    """One bound on the change: its name in the spec, and by how much a value may fall or rise."""

    field: str
    limit: float
    falls: bool
    relative: bool


def judge_metrics(case: Case) -> Iterator[GateResult]:
    """Judge each metric gate: its bounds, and its changes while there is a stable version."""
    for gate in case.gates.metrics:
        found = find(case.candidate, gate.metric, gate.dataset)
        if not found:
            yield fails(_name(gate), "MetricMissing", missing(case.candidate, gate.metric, gate.dataset))
            continue
        pair = _pair(gate, found, case.stable) if gate.compares else None
        value = pair[0] if pair else found[0]
        if not math.isfinite(value.value):
            message = f"{value.key!r} of version {case.candidate.version} is {value.value}"
            yield fails(_name(gate), "MetricNotFinite", message, str(value.value), source=spot(value))
            continue
        yield from _bounds(gate, value)
        if gate.compares and case.stable is not None:
            yield from _against(gate, value, pair[1] if pair else None, case.stable)


def _name(gate: MetricGate) -> str:
    return f"metric:{gate.metric}"


def find(model: ModelVersion, metric: str, dataset: str = "") -> tuple[Metric, ...]:
    """Return a metric's values under the first of its names that was logged, the model's own before its run's."""
    for key in names(metric):
        found = tuple(
            each
            for each in model.metrics
            if each.key == key and not key.startswith(TRAINING) and dataset in ("", each.dataset.rpartition("@")[0])
        )
        if found:
            return found
    return ()


def missing(model: ModelVersion, metric: str, dataset: str = "") -> str:
    """Say which keys were looked for, and where."""
    keys, where = [repr(name) for name in names(metric)], f"on dataset {dataset!r} " if dataset else ""
    said = f"{keys[0]} was not logged" if len(keys) == 1 else f"neither {' nor '.join(keys)} was logged"
    return f"{said} {where}on the model or the run of version {model.version}"


def _pair(
    gate: MetricGate, found: tuple[Metric, ...], stable: ModelVersion | NoData | None
) -> tuple[Metric, Metric] | None:
    """Return the first two values that may be compared."""
    known = find(stable, gate.metric, gate.dataset) if isinstance(stable, ModelVersion) else ()
    pairs = ((new, old) for new in found for old in known)
    same = (pair for pair in pairs if pair[0].dataset and _digest(pair[0]) == _digest(pair[1]))
    if gate.compare_on is CompareOn.ANY_DATASET and found and known:
        return next(same, (found[0], known[0]))
    return next(same, None)


def _digest(metric: Metric) -> str:
    """Return the dataset's digest: it may have another name in each run."""
    return metric.dataset.rpartition("@")[2]


def _bounds(gate: MetricGate, found: Metric) -> Iterator[GateResult]:
    name, value, source = _name(gate), found.value, spot(found)
    for bound, holds, broken in (
        (gate.min, gate.min is not None and at_most(gate.min, value), "MetricBelowMin"),
        (gate.max, gate.max is not None and at_most(value, gate.max), "MetricAboveMax"),
    ):
        if bound is None:
            continue
        kind = "min" if broken == "MetricBelowMin" else "max"
        details = (
            f"{gate.metric} {number(value)}, {kind} {number(bound)}",
            number(value),
            f"{kind} {number(bound)}",
            source,
        )
        yield passes(name, "MetricInBounds", *details) if holds else fails(name, broken, *details)


def _against(
    gate: MetricGate, value: Metric, old: Metric | None, stable: ModelVersion | NoData
) -> Iterator[GateResult]:
    if isinstance(stable, NoData):
        message = f"there is nothing to compare {gate.metric} with: {stable.message}"
        yield fails(_name(gate), "StableNotFound", message, number(value.value), source=spot(value))
    elif old is None:
        yield _incomparable(gate, value, stable)
    elif not math.isfinite(old.value):
        message = f"{old.key!r} of version {stable.version}, which serves, is {old.value}"
        yield fails(_name(gate), "StableMetricNotFinite", message, number(value.value), source=spot(old))
    else:
        yield from (_change(gate, value, old, change) for change in _changes(gate))


def _incomparable(gate: MetricGate, value: Metric, stable: ModelVersion) -> GateResult:
    name, source = _name(gate), spot(value)
    known = find(stable, gate.metric, gate.dataset)
    if not known:
        return fails(name, "StableMetricMissing", missing(stable, gate.metric, gate.dataset), source=source)
    message = (
        f"the values were not logged on one dataset digest: {source}; version {stable.version}'s {spot(known[0])}. "
        "Log both with dataset=, or set compareOn: AnyDataset"
    )
    return fails(name, "DatasetDiffers", message, number(value.value), "on one dataset digest", source)


def _changes(gate: MetricGate) -> Iterator[Change]:
    for field, limit, falls, relative in (
        ("maxDrop", gate.max_drop, True, False),
        ("maxIncrease", gate.max_increase, False, False),
        ("maxDropRatio", gate.max_drop_ratio, True, True),
        ("maxIncreaseRatio", gate.max_increase_ratio, False, True),
    ):
        if limit is not None:
            yield Change(field, limit, falls, relative)


def _change(gate: MetricGate, value: Metric, old: Metric, change: Change) -> GateResult:
    moved = old.value - value.value if change.falls else value.value - old.value
    allowed = change.limit * abs(old.value) if change.relative else change.limit
    bound = f"{change.field} {number(change.limit)} from {number(old.value)}"
    message = (
        f"{gate.metric} {number(value.value)}, stable's {number(old.value)}, {change.field} {number(change.limit)}"
    )
    details = message + _sense(gate, change), number(value.value), bound, f"{spot(value)}; stable's {spot(old)}"
    if at_most(moved, allowed, max(abs(value.value), abs(old.value))):
        return passes(_name(gate), "MetricHeld", *details)
    return fails(_name(gate), "MetricDropped" if change.falls else "MetricIncreased", *details)


def _sense(gate: MetricGate, change: Change) -> str:
    """Remark on a bound that stops what is better: allowed, and seldom meant."""
    better = direction(gate.metric)
    backwards = better is (Better.LOWER if change.falls else Better.HIGHER)
    return f" (for {gate.metric}, {better.value} is better)" if better and backwards else ""
