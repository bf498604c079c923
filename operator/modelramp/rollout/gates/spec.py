"""What the gates of an attempt ask, as frozen values; a floor is merged in field by field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum


class CompareOn(Enum):
    """On what a metric may be compared with the stable version's."""

    SAME_DATASET = "SameDataset"
    ANY_DATASET = "AnyDataset"


@dataclass(frozen=True, slots=True)
class MetricGate:
    """Bounds on a logged metric; the changes are against stable's value, the ratios in parts of it."""

    metric: str
    min: float | None = None
    max: float | None = None
    max_drop: float | None = None
    max_increase: float | None = None
    max_drop_ratio: float | None = None
    max_increase_ratio: float | None = None
    dataset: str = ""
    compare_on: CompareOn = CompareOn.SAME_DATASET

    @property
    def compares(self) -> bool:
        """Tell whether the gate needs the stable version's value."""
        changes = (self.max_drop, self.max_increase, self.max_drop_ratio, self.max_increase_ratio)
        return any(change is not None for change in changes)


class CompatibleWith(Enum):
    """Whose clients a version's signature must not break."""

    STABLE = "Stable"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class SignatureGate:
    """What the signature must be."""

    required: bool = True
    compatible_with: CompatibleWith = CompatibleWith.STABLE


@dataclass(frozen=True, slots=True)
class FairnessGate:
    """A bound on a metric by fairlearn's name, also for each group under it; `groups` must have been logged."""

    metric: str
    min: float | None = None
    max: float | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CoverageGate:
    """The least share, 0 to 1, of evaluation rows or segments."""

    metric: str
    min: float


class Lineage(Enum):
    """What must be known of where a version came from."""

    GIT_COMMIT = "GitCommit"
    DATASETS = "Datasets"
    FEATURE_TABLES = "FeatureTables"
    PARAMETERS = "Parameters"
    RUN = "Run"


@dataclass(frozen=True, slots=True)
class LineageGate:
    """The lineage that is required; `feature_table_tag` is the tag that holds a feature table's version."""

    require: tuple[Lineage, ...] = ()
    feature_table_tag: str = "feature_table_version"


@dataclass(frozen=True, slots=True)
class TagGate:
    """A tag that must be set, to one of `values` where there are any."""

    key: str
    values: tuple[str, ...] = ()


class NoteFor(Enum):
    """Which versions need a note on the decision."""

    TIER1 = "Tier1"
    ALL = "All"


@dataclass(frozen=True, slots=True)
class DecisionGate:
    """A note that says why this version: in the tag, the description or the file."""

    required_for: NoteFor = NoteFor.TIER1
    tag: str = "decision"
    artifact: str = "decision.md"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A ConfigMap's key with requests to replay."""

    config_map: str
    key: str


@dataclass(frozen=True, slots=True)
class StagingGate:
    """Bounds on how the candidate's own pods answer replayed requests; `memory` in bytes.

    Without `dataset` the model's logged input example is replayed. `error_rate` is the share without a prediction.
    """

    requests: int = 200
    concurrency: int = 4
    p50: timedelta | None = None
    p95: timedelta | None = None
    p99: timedelta | None = None
    error_rate: float = 0.0
    memory: int | None = None
    dataset: Dataset | None = None
    deadline: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class RollbackGate:
    """What the version to fall back to has to show before the candidate gets traffic."""

    required: bool = True
    """It has ready pods and answers a prediction."""
    rehearsed_within: timedelta | None = None
    """How long ago the newest drill that passed may be."""


@dataclass(frozen=True, slots=True)
class Override:
    """A failed gate that somebody lets pass until a moment, and why."""

    gate: str
    reason: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Gates:
    """The checks before any traffic; what is None or empty is not checked. A name must match every pattern."""

    metrics: tuple[MetricGate, ...] = ()
    signature: SignatureGate = SignatureGate()
    name_patterns: tuple[str, ...] = ()
    fairness: tuple[FairnessGate, ...] = ()
    coverage: tuple[CoverageGate, ...] = ()
    lineage: LineageGate | None = None
    tags: tuple[TagGate, ...] = ()
    decision: DecisionGate | None = None
    require_policy: bool = False
    staging: StagingGate | None = None
    rollback: RollbackGate | None = None
    overrides: tuple[Override, ...] = ()


USUAL_GATES = Gates()
"""What is asked where nothing is said."""
NO_GATES = Gates(signature=SignatureGate(required=False, compatible_with=CompatibleWith.NONE))
"""Only what always holds: a product's name, a version that is ready."""
