"""The gates of a ModelDeployment: what is checked before any traffic."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelramp.api.policy import PolicyGate
from modelramp.api.rules import Block, Rule, matches
from modelramp.api.scalars import Moment
from modelramp.api.staging import RollbackGate, StagingGate

_Metric = Annotated[str, Field(min_length=1, max_length=250)]
_Change = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_MAP_BY_KEY = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]}
_BOUNDS = ("min", "max", "max_drop", "max_increase", "max_drop_ratio", "max_increase_ratio")
_Text = Annotated[str, Field(min_length=1, max_length=250), matches("[^ \\t\\r\\n]", "is blank")]


def _has(*fields: str) -> str:
    return " || ".join(f"has(self.{field})" for field in fields)


class MetricGate(Block):
    """Bounds on one metric that was logged with the version."""

    metric: _Metric
    """Key of the metric, such as auc. The usual names also find MLflow's own: auc finds roc_auc."""
    min: float | None = None
    """The metric must be at least this."""
    max: float | None = None
    """The metric must be at most this."""
    max_drop: _Change | None = None
    """The metric may be at most this much under the stable version's. Passes while nothing is stable."""
    max_increase: _Change | None = None
    """The metric may be at most this much over the stable version's. Passes while nothing is stable."""
    max_drop_ratio: _Change | None = None
    """The metric may be at most this part of the stable version's under it: 0.05 is 5 %."""
    max_increase_ratio: _Change | None = None
    """The metric may be at most this part of the stable version's over it: 0.2 is 20 %."""
    dataset: Annotated[str, Field(max_length=250)] = ""
    """Name of the dataset that the metric must be logged on. Without it, the first that has the metric."""
    compare_on: Literal["SameDataset", "AnyDataset"] = "SameDataset"
    """SameDataset: both versions' values must be on one dataset digest. AnyDataset: they are compared as they are."""

    rules: ClassVar = (
        Rule(
            _has("min", "max", "maxDrop", "maxIncrease", "maxDropRatio", "maxIncreaseRatio"),
            "the gate on '{self.metric}' has no bound: give min, max, maxDrop, maxIncrease, maxDropRatio or "
            "maxIncreaseRatio",
            lambda gate: any(getattr(gate, bound) is not None for bound in _BOUNDS),
        ),
        Rule(
            "!has(self.min) || !has(self.max) || self.min <= self.max",
            "min is over max: nothing could pass",
            lambda gate: gate.min is None or gate.max is None or gate.min <= gate.max,
            at=".min",
        ),
        Rule(
            "!self.metric.startsWith('training_')",
            "'{self.metric}' was measured on the training data: gate on a metric of the evaluation",
            lambda gate: not gate.metric.startswith("training_"),
            at=".metric",
        ),
    )


class SignatureGate(Block):
    """What the model's signature must be."""

    required: bool = True
    """Refuse a version that was logged without a signature."""
    compatible_with: Literal["Stable", "None"] = "Stable"
    """Stable: requests and answers of the version that serves stay valid. None: any signature will do."""


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


class NameGate(Block):
    """What the model's name must be, besides a product's name."""

    pattern: Annotated[
        str,
        Field(min_length=1, max_length=200),
        # Bounded, so that no expression takes long on any name.
        matches(
            "^[^*+?{(]*([*+?{(][^*+?{(]*){0,4}$",
            "is too much of an expression: write at most four of * + ? { and (",
        ),
        matches("[)][*+?{]|[(][?]", "repeats or names a group: write it without", wanted=False),
        Rule(
            "'x'.matches(self) || !'x'.matches(self)",
            "'{self}' is no regular expression",
            _compiles,
        ),
    ]
    """Expression that the whole name must match, such as (fraud|credit)_[a-z_]+."""


def _is_lower_better(metric: str) -> bool:
    return re.search("_(difference|group_max)$", metric) is not None


class FairnessGate(Block):
    """A bound on one fairness metric by fairlearn's name, for the whole and for each group that was logged."""

    metric: Annotated[
        str,
        Field(min_length=1, max_length=250),
        matches(
            "_(difference|ratio|group_min|group_max)$",
            "is no fairness metric: write fairlearn's name, which ends with _difference, _ratio, _group_min or "
            "_group_max",
        ),
    ]
    """Key of the metric, such as demographic_parity_difference. Keys below it, such as …/gender, are its groups."""
    min: float | None = None
    """Every value must be at least this: for _ratio and _group_min."""
    max: float | None = None
    """Every value must be at most this: for _difference and _group_max."""
    groups: Annotated[tuple[_Text, ...], Field(max_length=16)] = ()
    """Groups that must have been logged, such as gender for demographic_parity_difference/gender."""

    rules: ClassVar = (
        Rule(
            "self.metric.matches('_(difference|group_max)$') ? has(self.max) && !has(self.min) : "
            "has(self.min) && !has(self.max)",
            "the gate on '{self.metric}' needs one bound: max for _difference and _group_max, min for _ratio and "
            "_group_min",
            lambda gate: (gate.min is None) is _is_lower_better(gate.metric) is not (gate.max is None),
        ),
    )


class CoverageGate(Block):
    """The least share of the evaluation that was covered."""

    metric: _Metric = "coverage"
    """Key of the metric: a share from 0 to 1 of rows or segments."""
    min: _Share
    """The metric must be at least this."""


class LineageGate(Block):
    """What must be known of where a version came from."""

    require: Annotated[
        tuple[Literal["GitCommit", "Datasets", "FeatureTables", "Parameters", "Run"], ...],
        Field(min_length=1, max_length=5, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ("GitCommit", "Datasets", "Parameters", "Run")
    """GitCommit: of a clean tree. Datasets: with their digests. FeatureTables: their versions. Parameters. Run."""
    feature_table_tag: _Text = "feature_table_version"
    """Tag of a dataset, the run or the version that holds a feature table's version."""


class TagGate(Block):
    """A tag that must be set."""

    key: _Text
    """Key of the tag on the version, its logged model or its run."""
    values: Annotated[tuple[_Text, ...], Field(max_length=32)] = ()
    """Values that are allowed. Without any, all but an empty one."""


class TagsGate(Block):
    """Tags that must be set."""

    required: Annotated[
        tuple[TagGate, ...],
        Field(min_length=1, max_length=32, json_schema_extra=_MAP_BY_KEY),
    ] = (
        TagGate(key="team"),
        TagGate(key="owner"),
        TagGate(key="risk", values=("tier1", "tier2", "tier3")),
        TagGate(key="pii", values=("true", "false")),
        TagGate(key="compliance"),
        TagGate(key="sla"),
        TagGate(key="data_residency"),
    )
    """The tags, and which values each may have."""


class DecisionGate(Block):
    """A note that says why this version is to go live."""

    required_for: Literal["Tier1", "All"] = "Tier1"
    """Tier1: for versions whose tag risk is tier1 or is not set. All: for every version."""
    tag: _Text = "decision"
    """Tag that may hold the note; the version's description may, too."""
    artifact: _Text = "decision.md"
    """File beside the model that may hold the note."""


class Override(Block):
    """A gate that passes although it failed."""

    gate: Annotated[
        str,
        Field(min_length=1, max_length=280),
        matches(
            "^(name|ready|run|deprecated|sunset|signature|compatibility|decision|policy|rollback|staging"
            "|(metric|fairness|coverage|lineage|tag|staging|rollback):.+)$",
            "is no gate: write its name as status.attempt.gates has it, such as metric:auc or lineage:GitCommit",
        ),
    ]
    """Name of the gate, as status.attempt.gates has it."""
    reason: Annotated[str, Field(min_length=1, max_length=500), matches("[^ \\t\\r\\n]", "is no reason")]
    """Why: kept with the gate's result, in an event and in a condition."""
    until: Moment
    """Until when it holds, such as 2026-12-31T18:00:00Z. An attempt that is judged later is not helped by it."""


class Gates(Block):
    """Checks before any traffic: each passes or fails, with its evidence."""

    name: NameGate | None = None
    """What the model's name must be, besides a product's name."""
    metrics: Annotated[tuple[MetricGate, ...], Field(max_length=50)] = ()
    """Bounds on logged metrics. One metric may have several gates."""
    signature: SignatureGate = SignatureGate()
    """What the model's signature must be."""
    fairness: Annotated[tuple[FairnessGate, ...], Field(max_length=32)] = ()
    """Bounds on fairness metrics."""
    coverage: Annotated[tuple[CoverageGate, ...], Field(max_length=8)] = ()
    """Least shares of the evaluation that were covered."""
    lineage: LineageGate | None = None
    """What must be known of where a version came from. Without it, nothing must."""
    tags: TagsGate | None = None
    """Tags that must be set; {} stands for the usual seven. Without it, none must."""
    decision: DecisionGate | None = None
    """A note that says why this version is to go live; {} requires it for risk tier1. Without it, none is required."""
    policy: PolicyGate = PolicyGate()
    """What the business rules must be."""
    staging: StagingGate | None = None
    """How the candidate's pods answer replayed requests. Without it, they get none before their first traffic."""
    rollback: RollbackGate | None = None
    """Whether the version to fall back to could take over; {} asks it. Without it, it is not asked."""
    overrides: Annotated[
        tuple[Override, ...],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["gate"]},
        ),
    ] = ()
    """Gates that may fail until a moment; each that is used is told in a condition and an event."""
