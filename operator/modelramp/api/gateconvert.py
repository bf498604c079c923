"""The gates of the API as the core's values."""

from __future__ import annotations

from modelramp.api import gates as api
from modelramp.api import staging
from modelramp.api.quantities import parse_quantity
from modelramp.rollout.gates import spec as core


def core_gates(read: api.Gates) -> core.Gates:
    """Return the gates as the core judges them, the usual tags filled in where tags are asked for at all."""
    return core.Gates(
        metrics=tuple(_metric(gate) for gate in read.metrics),
        signature=core.SignatureGate(read.signature.required, core.CompatibleWith(read.signature.compatible_with)),
        name_patterns=(read.name.pattern,) if read.name else (),
        fairness=tuple(core.FairnessGate(gate.metric, gate.min, gate.max, gate.groups) for gate in read.fairness),
        coverage=tuple(core.CoverageGate(gate.metric, gate.min) for gate in read.coverage),
        lineage=_lineage(read.lineage) if read.lineage else None,
        tags=tuple(core.TagGate(tag.key, tag.values) for tag in read.tags.required) if read.tags else (),
        decision=_decision(read.decision) if read.decision else None,
        require_policy=read.policy.required,
        staging=_staging(read.staging) if read.staging else None,
        rollback=core.RollbackGate(read.rollback.required, read.rollback.rehearsed_within) if read.rollback else None,
        overrides=tuple(core.Override(each.gate, each.reason, each.until) for each in read.overrides),
    )


def _metric(gate: api.MetricGate) -> core.MetricGate:
    return core.MetricGate(
        metric=gate.metric,
        min=gate.min,
        max=gate.max,
        max_drop=gate.max_drop,
        max_increase=gate.max_increase,
        max_drop_ratio=gate.max_drop_ratio,
        max_increase_ratio=gate.max_increase_ratio,
        dataset=gate.dataset,
        compare_on=core.CompareOn(gate.compare_on),
    )


def _staging(gate: staging.StagingGate) -> core.StagingGate:
    key = gate.dataset.config_map_key_ref if gate.dataset else None
    memory = parse_quantity(gate.memory)
    return core.StagingGate(
        requests=gate.requests,
        concurrency=gate.concurrency,
        p50=gate.p50,
        p95=gate.p95,
        p99=gate.p99,
        error_rate=gate.error_rate,
        memory=None if memory is None else int(memory),
        dataset=core.Dataset(key.name, key.key) if key else None,
        deadline=gate.deadline,
    )


def _lineage(gate: api.LineageGate) -> core.LineageGate:
    return core.LineageGate(tuple(core.Lineage(each) for each in gate.require), gate.feature_table_tag)


def _decision(gate: api.DecisionGate) -> core.DecisionGate:
    return core.DecisionGate(core.NoteFor(gate.required_for), gate.tag, gate.artifact)
