"""Say in one phrase what a gate asks, in the words of the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from functools import singledispatch

from modelramp.rollout.durations import text
from modelramp.rollout.gates.spec import (
    CoverageGate,
    DecisionGate,
    FairnessGate,
    LineageGate,
    MetricGate,
    RollbackGate,
    SignatureGate,
    StagingGate,
    TagGate,
)

_BOUNDS = {
    "min": "min",
    "max": "max",
    "max_drop": "maxDrop",
    "max_increase": "maxIncrease",
    "max_drop_ratio": "maxDropRatio",
    "max_increase_ratio": "maxIncreaseRatio",
}


@singledispatch
def phrase(gate: object) -> str:
    """Return what a gate, or another thing of a gate's field, asks; "" where nothing is asked."""
    return str(gate).lower() if gate else ""


@phrase.register
def _pattern(gate: str) -> str:
    return gate


@phrase.register(MetricGate | FairnessGate | CoverageGate)
def _metric(gate: MetricGate | FairnessGate | CoverageGate) -> str:
    return ", ".join(_bounds(gate))


@phrase.register
def _tag(gate: TagGate) -> str:
    return " or ".join(gate.values) or f"{gate.key} is set"


@phrase.register
def _signature(gate: SignatureGate) -> str:
    return f"required {str(gate.required).lower()}, compatibleWith {gate.compatible_with.value}"


@phrase.register
def _lineage(gate: LineageGate) -> str:
    return ", ".join(each.value for each in gate.require)


@phrase.register
def _decision(gate: DecisionGate) -> str:
    return f"requiredFor {gate.required_for.value}, in tag {gate.tag} or {gate.artifact}"


@phrase.register
def _staging(gate: StagingGate) -> str:
    return ", ".join(_replay(gate))


@phrase.register
def _rollback(gate: RollbackGate) -> str:
    asked = [(each.name, getattr(gate, each.name)) for each in fields(gate) if each.name != "required"]
    mosts = [f"{_camel(name)} {text(most)}" for name, most in asked if most is not None]
    return ", ".join([f"required {str(gate.required).lower()}", *mosts])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _bounds(gate: MetricGate | FairnessGate | CoverageGate) -> Iterator[str]:
    found = ((name, getattr(gate, field, None)) for field, name in _BOUNDS.items())
    yield from (f"{name} {value:g}" for name, value in found if value is not None)
    if isinstance(gate, MetricGate) and gate.dataset:
        yield f"on {gate.dataset}"
    if isinstance(gate, FairnessGate) and gate.groups:
        yield f"of {' and '.join(gate.groups)}"


def _replay(gate: StagingGate) -> Iterator[str]:
    yield f"requests {gate.requests}, concurrency {gate.concurrency}, errorRate {gate.error_rate:g}"
    bounds: tuple[tuple[str, timedelta | None], ...] = (("p50", gate.p50), ("p95", gate.p95), ("p99", gate.p99))
    yield from (f"{name} {text(bound)}" for name, bound in bounds if bound is not None)
    if gate.memory is not None:
        yield f"memory {gate.memory}"
    if gate.dataset:
        yield f"dataset {gate.dataset.config_map}/{gate.dataset.key}"
