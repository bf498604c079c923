"""The status of a ModelDeployment, for the schema. `codec.py` writes and reads it; a test holds both together.

Nothing here limits a value: a status that the API server refuses is a rollback that is forgotten.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from modelramp.api.gatecopy import GateResult
from modelramp.api.plancopy import GuardrailCopy, PlanCopy
from modelramp.api.policy import PolicyState
from modelramp.api.rules import Block

_MAP_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_MAP_BY_TYPE = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class Pin(Block):
    """A registry version, resolved once."""

    version: str | None = None
    """Version number in the registry."""
    run_id: str | None = None
    """Run that logged it."""
    source: str | None = None
    """Where its files are; never an alias."""
    digest: str | None = None
    """Digest of all its files."""
    created: str | None = None
    """When the registry says it was created, in milliseconds since 1970."""


class Applied(Block):
    """A PromotionPolicy as it was when the gates were judged."""

    policy: str | None = None
    """Its name."""
    generation: int | None = None
    """Its generation."""


class Raised(Block):
    """One place where the floor is above the spec."""

    field: str | None = None
    """What was raised, such as shadow.duration."""
    policy: str | None = None
    """By which PromotionPolicy."""
    holds: str | None = None
    """What holds."""
    written: str | None = None
    """What the spec says; nothing where it says nothing."""


class Attempt(Block):
    """One try to take one pin to stable."""

    id: str | None = None
    """Name of the attempt."""
    version: str | None = None
    """The version that is tried."""
    kind: str | None = None
    """First: nothing to compare with. Fresh: the whole way. Return: back to a version that was stable."""
    fingerprint: str | None = None
    """Hash of what the attempt depends on."""
    plan: PlanCopy | None = None
    """What it is held to: a copy of the spec, raised to the floor of the policies when the gates are judged. An edit of
    the spec or of a policy waits for the next attempt."""
    started_at: datetime | None = None
    """When it began."""
    phase_since: datetime | None = None
    """Since when it is in its phase."""
    step: int | None = None
    """Which step of the plan, counted from 0."""
    settled_at: datetime | None = None
    """When the step's split was first seen in effect."""
    counted_from: int | None = None
    """The candidate's counter of requests at that moment."""
    gates: tuple[GateResult, ...] | None = None
    """Each gate's evidence."""
    policies: tuple[Applied, ...] | None = None
    """The PromotionPolicies that selected it."""
    raised: tuple[Raised, ...] | None = None
    """Where they asked for more than the spec, 32 at the most."""


class GuardrailState(Block):
    """A guardrail's last change of verdict."""

    name: str
    """Name of the guardrail."""
    verdict: str | None = None
    """Pass, Fail, NoData or Inconclusive."""
    reason: str | None = None
    """Why, in one word."""
    message: str | None = None
    """Why, with the values."""
    since: datetime | None = None
    """When it changed to this."""
    failures: int | None = None
    """Failed verdicts that count towards the limit."""
    baseline: float | None = None
    """The stable version's value that it was compared with."""


class Rejection(Block):
    """A pin that is not tried again until the spec or spec.retry changes."""

    version: str | None = None
    """Version number in the registry."""
    fingerprint: str | None = None
    """Hash of what the attempt depended on."""
    reason: str | None = None
    """Why, in one word."""
    message: str | None = None
    """Why, with the values."""
    at: datetime | None = None
    """When."""


class Drill(Block):
    """A rollback that is rehearsed on the live traffic."""

    asked: str | None = None
    """The spec.drill that asked for it."""
    version: str | None = None
    """The version that gets all traffic meanwhile."""
    started_at: datetime | None = None
    """When it began."""
    away_at: datetime | None = None
    """When that was seen in effect, and the traffic began to go back."""
    ended_at: datetime | None = None
    """When it ended; it runs until then."""
    reason: str | None = None
    """How it ended, in one word."""
    message: str | None = None
    """How it ended, with the values."""


class Finding(Block):
    """One thing that a decision rests on."""

    check: str | None = None
    """What was checked, such as `gate signature`, `guardrail errors` or `requests`."""
    verdict: str | None = None
    """Pass, Fail, NoData or Inconclusive."""
    reason: str | None = None
    """Why, in one word."""
    message: str | None = None
    """Why, with the values."""
    value: float | None = None
    """What was found; durations are seconds."""
    min: float | None = None
    """At least this."""
    max: float | None = None
    """At most this."""
    baseline: float | None = None
    """The stable version's value that it was compared with."""
    samples: int | None = None
    """The requests, or the passes in a row, that stand behind it."""
    failures: int | None = None
    """Failed verdicts that counted towards the limit."""
    query: str | None = None
    """The query, with its placeholders."""
    found: str | None = None
    """What a gate found."""
    bound: str | None = None
    """What a gate asks for."""
    source: str | None = None
    """Where a gate looked for it."""
    override: str | None = None
    """Why a gate that failed was passed all the same."""


class Record(Block):
    """One decision. docs/reference/records.md has every event."""

    at: datetime | None = None
    """When."""
    version: str | None = None
    """About which version."""
    event: str | None = None
    """What was decided, in one word."""
    message: str | None = None
    """What was decided, with the values."""
    id: str | None = None
    """Its name, the only one of that name for this object."""
    reason: str | None = None
    """Why, in one word."""
    by: str | None = None
    """The field manager who asked for it, as far as the API server knows; empty: the operator by itself."""
    attempt: str | None = None
    """Name of the attempt."""
    generation: int | None = None
    """Generation of the spec that it was decided on."""
    phase: str | None = None
    """The phase afterwards."""
    step: str | None = None
    """The step afterwards, such as 2/4."""
    stable: str | None = None
    """The version that holds the traffic afterwards."""
    weight: int | None = None
    """Percent of live traffic that the candidate is to have afterwards."""
    pin: Pin | None = None
    """The version as it was resolved."""
    plan: str | None = None
    """Hash of the plan that the attempt is held to."""
    policy: str | None = None
    """Hash of the business rules in force."""
    operator: str | None = None
    """Version of the operator."""
    evidence: tuple[Finding, ...] | None = None
    """What it rests on; old records lose it first."""
    times: int | None = None
    """How many records this one stands for; 1 where it is not given."""


class Condition(Block):
    """A condition, as everywhere in Kubernetes."""

    type: str
    """Such as Ready; docs/reference/reasons.md has all of them."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str
    """Why, in one word."""
    message: str
    """Why, with the values."""
    observed_generation: int | None = None
    """Which generation of the spec it is about."""
    last_transition_time: datetime
    """When status last changed."""


class Status(Block):
    """What is running, and what the operator remembers."""

    phase: str | None = None
    """Pending, Gating, Starting, Staging, Shadowing, Ramping, Promoted, RolledBack, Rejected or Released."""
    reason: str | None = None
    """Why, in one word."""
    message: str | None = None
    """Why, with the values."""
    observed_generation: int | None = None
    """Which generation of the spec all this is about; -1 before the first."""
    stable: Pin | None = None
    """The version that holds the traffic."""
    candidate: Pin | None = None
    """The pinned version while it is not yet stable."""
    previous: tuple[Pin, ...] | None = None
    """Versions that were stable, newest first."""
    attempt: Attempt | None = None
    """The newest try to take a pin to stable."""
    guardrails: Annotated[tuple[GuardrailState, ...] | None, Field(json_schema_extra=_MAP_BY_NAME)] = None
    """Each guardrail's last change of verdict; its measurements are metrics of the operator."""
    policy: PolicyState | None = None
    """The business rules, where spec.policy names some."""
    required: tuple[GuardrailCopy, ...] | None = None
    """The guardrails that PromotionPolicies asked for when stable was tried; it is watched by them ever after."""
    drill: Drill | None = None
    """The drill that was asked for last."""
    rehearsed: Drill | None = None
    """The newest drill that passed."""
    rejected: tuple[Rejection, ...] | None = None
    """Pins that are not tried again."""
    tried: tuple[str, ...] | None = None
    """The versions of earlier attempts, newest first: approvals of a further one name the attempt."""
    history: tuple[Record, ...] | None = None
    """The story, oldest first."""
    outbox: tuple[Record, ...] | None = None
    """Records that the registry does not have yet, oldest first."""
    conditions: Annotated[tuple[Condition, ...] | None, Field(json_schema_extra=_MAP_BY_TYPE)] = None
    """Ready, Reconciling, Stalled and those about one thing each: docs/reference/reasons.md has all of them."""
    weight: int | None = None
    """Percent of live traffic that the candidate is to have."""
    step: str | None = None
    """Step of the ramp, such as 2/4."""
