"""What a turn sees: every port's answer as a value, failures and missing data included, and `now`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from modelramp.rollout.rulebook import Rulebook
from modelramp.rollout.signature import Signature
from modelramp.rollout.status import Pin

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Value(Generic[T]):
    """An answer."""

    value: T


@dataclass(frozen=True, slots=True)
class NoData:
    """The question was understood and there is nothing: a missing series, a version that does not exist."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer that can be used: unreachable, refused, malformed. `message` never holds a secret or a body."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Busy:
    """The answer is being worked out; ask again."""

    message: str


Reading = Value[T] | NoData | Failed


@dataclass(frozen=True, slots=True)
class Metric:
    """A logged metric; `value` may be NaN or infinite as the registry holds it.

    `dataset` is name@digest, empty where it was logged on none; `run` is the run that logged it.
    """

    key: str
    value: float
    dataset: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that a run names as an input, with its tags."""

    name: str
    digest: str
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """The run that a version names; `status` and `stage` are MLflow's words, FINISHED and active when all is well."""

    id: str
    status: str = "FINISHED"
    stage: str = "active"
    commit: str = ""
    dirty: bool = False
    parameters: int = 0
    datasets: tuple[Dataset, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registry version as the gates need it.

    `run` is None where the version names none, or one that is gone. `files` are the paths of its files, where they
    were read. `signature_fault` says why a signature that was logged cannot be read.
    """

    name: str
    version: str
    run_id: str
    source: str
    created: str
    status: str
    digest: str
    signature: Signature | None = None
    metrics: tuple[Metric, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    run: TrainingRun | None = None
    description: str = ""
    files: tuple[str, ...] = ()
    signature_fault: str = ""


@dataclass(frozen=True, slots=True)
class Posted:
    """What the registry has of the records that were to go there, by their ids.

    `foreign` are aliases that somebody else holds, which were left alone; `refused` is why something stays behind
    while the others went through.
    """

    ids: frozenset[str] = frozenset()
    foreign: tuple[str, ...] = ()
    refused: Failed | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Percent of live traffic by version, and percent mirrored by version."""

    weights: Mapping[str, int] = field(hash=False)
    mirror: Mapping[str, int] = field(default_factory=dict, hash=False)

    def weight(self, version: str) -> int:
        """Return the percent of live traffic for a version, 0 where it has none."""
        return self.weights.get(version, 0)

    def same(self, other: Split) -> bool:
        """Tell whether both send the same traffic; a version at 0 equals one that is not named."""
        return _positive(self.weights) == _positive(other.weights) and _positive(self.mirror) == _positive(other.mirror)


def _positive(weights: Mapping[str, int]) -> dict[str, int]:
    return {version: percent for version, percent in weights.items() if percent > 0}


@dataclass(frozen=True, slots=True)
class Route:
    """The split as it is stored in the cluster.

    `written` is the split that we wrote last, None when we never did: where it differs from `split` somebody
    else wrote, and `author` says who, as far as the API server knows. `why` is the reason that we gave with our
    last write. `backends` are the versions that the route's structure names. `current` tells whether all that
    carries the route is as the spec asks. `malformed` says what is wrong with the stored numbers, `refuses` why
    the route cannot carry the shadow that is planned.
    """

    split: Split | None
    written: Split | None
    backends: frozenset[str] = frozenset()
    author: str = ""
    why: str = ""
    current: bool = True
    malformed: str = ""
    refuses: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What the proxies report.

    `in_effect` is the split that every ready proxy runs, None while they differ. `requests` are counters of
    requests sent to each version, live and mirrored together; they only grow, but for restarts of a proxy.
    `active` are requests in flight now, `unreachable` the versions that a proxy knows it cannot connect to: a pod
    can be ready before its Service leads to it. `scarce` tells that too few requests have come to know whether the
    stored split is in effect, and that none of them speaks against it. `rejection` is what the router says against the
    route itself; unlike `detail` it does not change with each request.
    """

    in_effect: Split | None
    requests: Mapping[str, int] = field(default_factory=dict, hash=False)
    active: Mapping[str, int] = field(default_factory=dict, hash=False)
    detail: str = ""
    unreachable: frozenset[str] = frozenset()
    scarce: bool = False
    rejection: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """One version's pods.

    `current` tells whether they run as the spec asks now; `trouble` is the pods' own complaint, if any.
    """

    version: str
    desired: int
    ready: int
    current: bool = True
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """How one version answered replayed requests.

    `answered` of them got a prediction. Percentiles are seconds over those, None where there are none. `memory` is
    the most bytes that its server was seen to hold, None where it does not say. `complaint` is what became of the
    others, or why a figure is missing.
    """

    answered: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    memory: int | None = None
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of an attempt's rehearsal; who was not asked is None.

    `problem` is why there is no result, and will be none.
    """

    candidate: Replay | None = None
    fallback: Replay | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """The text of a policy as its ConfigMap holds it now, and what the pods make of it.

    `problem` says why it is no policy at all, `refused` what a pod has against it. Of the ready pods `applied` use
    it, `waiting` have not said so yet; `untold` have not been told to fetch it. `author` wrote it last. `unkept`: it
    is in force in all of them, and not yet kept for pods that start while a later edit cannot be used.
    """

    hash: str
    problem: str = ""
    refused: str = ""
    applied: int = 0
    waiting: int = 0
    untold: int = 0
    author: str = ""
    unkept: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """One guardrail query's answers; `baseline` is the stable version's, None where it is not compared."""

    guardrail: str
    asked_at: datetime
    candidate: Reading[float]
    baseline: Reading[float] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What a version that was resolved is in the registry now; of its pin the digest is not read.

    `sunset` is its tag `sunset_on`, from which day on it is not to be used; "" without.
    """

    pin: Pin
    sunset: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One turn's view of the world; total: what was not asked this turn is None."""

    now: datetime
    generation: int = 1
    deleting: bool = False
    deleting_since: datetime | None = None
    route: Reading[Route] = field(default_factory=lambda: NoData("NotAsked", ""))
    effect: Reading[Effect] = field(default_factory=lambda: NoData("NotAsked", ""))
    workloads: Reading[Mapping[str, Workload]] = field(default_factory=lambda: NoData("NotAsked", ""), hash=False)
    model: Reading[ModelVersion] | Busy | None = None
    stable_model: Reading[ModelVersion] | Busy | None = None
    rehearsals: Reading[Mapping[str, Rehearsal | Busy | Failed]] = field(
        default_factory=lambda: NoData("NotAsked", ""), hash=False
    )
    """By attempt, those that run or have ended and were not cleared away; Failed where it could not be begun."""
    measurements: tuple[Measurement, ...] = ()
    rules: Reading[Rules] | None = None
    journal: Reading[Posted] | Busy | None = None
    """What became of the outbox; NoData where no records are to go to the registry at all."""
    pins: Mapping[str, Reading[Entry]] = field(default_factory=dict, hash=False)
    """What the registry said last of the versions that serve or are tried, by version; Failed where it never did."""
    managers: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Who wrote a field of the spec last, by its path such as `model.version`; `""` is the newest of all."""
    rulebook: Reading[Rulebook] = field(default_factory=lambda: Value(Rulebook()))
