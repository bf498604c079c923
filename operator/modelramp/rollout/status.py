"""What is remembered between turns: the status of a ModelDeployment as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from modelramp.rollout.spec import Guardrail, Plan


class Phase(Enum):
    """Where the object stands; the keys of the transition table."""

    PENDING = "Pending"
    GATING = "Gating"
    STARTING = "Starting"
    STAGING = "Staging"
    SHADOWING = "Shadowing"
    RAMPING = "Ramping"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    REJECTED = "Rejected"
    RELEASED = "Released"


class AttemptKind(Enum):
    """Which way an attempt takes."""

    FIRST = "First"
    """Nothing to compare with: gates, readiness, all traffic."""
    FRESH = "Fresh"
    """Gates, readiness, shadow, every step."""
    RETURN = "Return"
    """A version that was stable: readiness, all traffic."""


class VerdictKind(Enum):
    """The four answers of a guardrail."""

    PASS = "Pass"  # noqa: S105 - a verdict, not a word to log in with
    FAIL = "Fail"
    NO_DATA = "NoData"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True, slots=True)
class Pin:
    """A registry version, resolved once: what is served never changes behind it."""

    version: str
    run_id: str = ""
    source: str = ""
    digest: str = ""
    created: str = ""
    """The registry's own creation time, milliseconds since the epoch, as text."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's evidence.

    `value`, `bound` and `source` are short texts: what was found, what it must be, where it was looked for.
    An overridden gate has failed for `reason` and passes all the same; `override` says why, and until when.
    """

    gate: str
    passed: bool
    reason: str
    message: str
    value: str = ""
    bound: str = ""
    source: str = ""
    overridden: bool = False
    override: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """Where a policy asked for more than the spec: `written` there, "" for nothing, and what `holds` instead."""

    field: str
    policy: str
    holds: str
    written: str = ""

    @property
    def message(self) -> str:
        """Say what holds instead of what."""
        written = f" instead of {self.written}" if self.written else ", where the spec asks for nothing"
        return f"{self.holds}{written}"


@dataclass(frozen=True, slots=True)
class Applied:
    """A policy that selected the version, as it was then."""

    policy: str
    generation: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to take one pin to stable, with its own copy of the plan.

    `step` counts from 0 into `plan.steps`; `settled_at` is when the step's (or the shadow's) split was first
    seen in effect, and None until then; `counted_from` is the candidate's request counter at that moment.
    `plan` is the spec's until the gates are judged, then what the policies left of it.
    """

    id: str
    version: str
    kind: AttemptKind
    fingerprint: str
    plan: Plan
    started_at: datetime
    phase_since: datetime
    step: int = 0
    settled_at: datetime | None = None
    counted_from: int = 0
    gates: tuple[GateResult, ...] = ()
    policies: tuple[Applied, ...] = ()
    raised: tuple[Raised, ...] = ()


@dataclass(frozen=True, slots=True)
class GuardrailState:
    """What is written of a guardrail: its last change of verdict, never each measurement."""

    name: str
    verdict: VerdictKind
    reason: str
    message: str
    since: datetime
    failures: int = 0
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A pin that is not tried again until its fingerprint changes."""

    version: str
    fingerprint: str
    reason: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Condition:
    """A Kubernetes condition; `status` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition_time: datetime


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The business rules as they were seen last.

    `hash` names those in force since `since`, which came after `previous`. `refused` names an edit that is not used,
    `message` says why not. While `watching`, a breach is reported together with the change.
    """

    config_map: str
    hash: str = ""
    previous: str = ""
    since: datetime | None = None
    refused: str = ""
    message: str = ""
    watching: bool = False


@dataclass(frozen=True, slots=True)
class Drill:
    """A rollback that is rehearsed on the live traffic; `asked` is the `spec.drill` that wanted it.

    All traffic goes to `version` and, once that was seen in effect at `away_at`, back to stable; it runs until
    `ended_at`. One that was refused has ended when it began.
    """

    asked: str
    version: str
    started_at: datetime
    away_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str = ""
    message: str = ""

    @property
    def is_away(self) -> bool:
        """Tell whether the traffic belongs to the version to fall back to."""
        return self.away_at is None and self.is_running

    @property
    def is_running(self) -> bool:
        """Tell whether it has begun and not ended."""
        return self.ended_at is None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a decision rests on: what was checked, what it said, within which bounds.

    `samples` are the requests, or the passes in a row, that stand behind it; durations are seconds. `query` still
    has its placeholders. Of a gate, `found` and `bound` are texts, and `source` is where it was looked for.
    """

    check: str
    verdict: VerdictKind
    reason: str = ""
    message: str = ""
    value: float | None = None
    min: float | None = None
    max: float | None = None
    baseline: float | None = None
    samples: int | None = None
    failures: int | None = None
    query: str = ""
    found: str = ""
    bound: str = ""
    source: str = ""
    override: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One decision: what was decided about which version, when, why, on whose word, and on what it rests.

    `id` is this object's only record of that name. `by` is the field manager, as far as the API server knows it;
    empty where the operator decided by itself. `phase`, `stable` and `weight` are how things stand afterwards.
    `plan` is the hash of what the attempt is held to, `policy` that of the business rules in force. `times` counts
    the records that this one stands for.
    """

    at: datetime
    version: str
    event: str
    message: str
    id: str = ""
    reason: str = ""
    by: str = ""
    attempt: str = ""
    generation: int | None = None
    phase: str = ""
    step: str = ""
    stable: str = ""
    weight: int | None = None
    pin: Pin | None = None
    plan: str = ""
    policy: str = ""
    operator: str = ""
    evidence: tuple[Finding, ...] = ()
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """All that survives a restart."""

    phase: Phase = Phase.PENDING
    reason: str = "New"
    message: str = ""
    observed_generation: int = -1
    stable: Pin | None = None
    candidate: Pin | None = None
    previous: tuple[Pin, ...] = ()
    """Versions that were stable, newest first; the first `keep_warm` of them stay ready."""
    attempt: Attempt | None = None
    guardrails: tuple[GuardrailState, ...] = ()
    policy: PolicyState | None = None
    required: tuple[Guardrail, ...] = ()
    """What policies asked of stable's attempt, and ask of stable for ever after."""
    drill: Drill | None = None
    """The drill that was asked for last."""
    rehearsed: Drill | None = None
    """The newest drill that passed."""
    rejected: tuple[Rejection, ...] = ()
    tried: tuple[str, ...] = ()
    """The versions of earlier attempts, newest first: approvals of a further one name the attempt."""
    history: tuple[Record, ...] = ()
    outbox: tuple[Record, ...] = ()
    """What the registry does not have yet, oldest first."""
    conditions: tuple[Condition, ...] = ()
    weight: int = 0
    """Percent of live traffic that the candidate is to have; for the printed column."""
    step: str = ""
    """Such as "2/4"; for the printed column."""

    def was_stable(self, version: str) -> Pin | None:
        """Return the remembered pin of a version that was stable before, or None."""
        return next((pin for pin in self.previous if pin.version == version), None)
