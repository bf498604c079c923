"""An attempt's gates and their results, for the schema of the status; nothing here limits a value."""

from __future__ import annotations

from datetime import datetime

from modelramp.api.rules import Block
from modelramp.api.staging import RollbackGateCopy, StagingGateCopy


class GateResult(Block):
    """One gate's evidence."""

    gate: str | None = None
    """Name of the gate."""
    passed: bool | None = None
    """Whether it passed."""
    reason: str | None = None
    """Why, in one word."""
    message: str | None = None
    """Why, with the values."""
    value: str | None = None
    """What was found."""
    bound: str | None = None
    """What it must be."""
    source: str | None = None
    """Where it was looked for."""
    overridden: bool | None = None
    """Whether it failed and passes by an override of the spec."""
    override: str | None = None
    """Why it was overridden, and until when."""


class MetricGateCopy(Block):
    """One metric gate of the plan."""

    metric: str | None = None
    """Key of the metric."""
    min: float | None = None
    """At least this."""
    max: float | None = None
    """At most this."""
    max_drop: float | None = None
    """At most this much under the stable version's."""
    max_increase: float | None = None
    """At most this much over the stable version's."""
    max_drop_ratio: float | None = None
    """At most this part of the stable version's under it."""
    max_increase_ratio: float | None = None
    """At most this part of the stable version's over it."""
    dataset: str | None = None
    """Name of the dataset it must be logged on."""
    compare_on: str | None = None
    """SameDataset or AnyDataset."""


class SignatureGateCopy(Block):
    """The plan's demands on the signature."""

    required: bool | None = None
    """Whether there must be one."""
    compatible_with: str | None = None
    """Stable or None."""


class FairnessGateCopy(Block):
    """One fairness gate of the plan."""

    metric: str | None = None
    """Key of the metric."""
    min: float | None = None
    """At least this."""
    max: float | None = None
    """At most this."""
    groups: tuple[str, ...] | None = None
    """Groups that must be logged."""


class CoverageGateCopy(Block):
    """One coverage gate of the plan."""

    metric: str | None = None
    """Key of the metric."""
    min: float | None = None
    """At least this share."""


class LineageGateCopy(Block):
    """The plan's demands on the lineage."""

    require: tuple[str, ...] | None = None
    """What must be known."""
    feature_table_tag: str | None = None
    """Tag that holds a feature table's version."""


class TagGateCopy(Block):
    """One tag that the plan demands."""

    key: str | None = None
    """Key of the tag."""
    values: tuple[str, ...] | None = None
    """Values that are allowed; any without."""


class DecisionGateCopy(Block):
    """The plan's demand for a note on the decision."""

    required_for: str | None = None
    """Tier1 or All."""
    tag: str | None = None
    """Tag that may hold it."""
    artifact: str | None = None
    """File of the model that may hold it."""


class OverrideCopy(Block):
    """One override of the plan."""

    gate: str | None = None
    """Name of the gate."""
    reason: str | None = None
    """Why."""
    until: datetime | None = None
    """Until when."""


class GatesCopy(Block):
    """The plan's gates."""

    metrics: tuple[MetricGateCopy, ...] | None = None
    """Bounds on logged metrics."""
    signature: SignatureGateCopy | None = None
    """Demands on the signature."""
    name_patterns: tuple[str, ...] | None = None
    """What the model's name must match."""
    fairness: tuple[FairnessGateCopy, ...] | None = None
    """Bounds on fairness metrics."""
    coverage: tuple[CoverageGateCopy, ...] | None = None
    """Least shares of what was evaluated."""
    lineage: LineageGateCopy | None = None
    """Demands on the lineage."""
    tags: tuple[TagGateCopy, ...] | None = None
    """Tags that must be set."""
    decision: DecisionGateCopy | None = None
    """Demand for a note on the decision."""
    require_policy: bool | None = None
    """Whether business rules are required."""
    staging: StagingGateCopy | None = None
    """How the candidate answers replayed requests."""
    rollback: RollbackGateCopy | None = None
    """Whether the version to fall back to could take over."""
    overrides: tuple[OverrideCopy, ...] | None = None
    """Gates that somebody lets pass."""
