"""The plan that an attempt is held to, as it is copied into the status."""

from __future__ import annotations

from modelramp.api.gatecopy import GatesCopy
from modelramp.api.rules import Block

_MAP_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class ShadowCopy(Block):
    """The plan's shadow."""

    percent: int | None = None
    """Percent of live requests that are copied."""
    duration: str | None = None
    """For how long at least."""
    min_requests: int | None = None
    """On how many copied requests at least."""


class StepCopy(Block):
    """One step of the plan."""

    weight: int | None = None
    """Percent of live traffic."""
    hold: str | None = None
    """For how long at least."""
    min_requests: int | None = None
    """On how many requests at least."""
    approval: bool | None = None
    """Whether somebody has to let it go on."""


class BoundsCopy(Block):
    """The range in which a guardrail passes."""

    min: float | None = None
    """At least this."""
    max: float | None = None
    """At most this."""


class FailureLimitCopy(Block):
    """How many failed verdicts are a breach."""

    count: int | None = None
    """This many."""
    mode: str | None = None
    """Consecutive or Total."""


class GuardrailCopy(Block):
    """One guardrail of the plan."""

    name: str | None = None
    """Name of the guardrail."""
    query: str | None = None
    """The query, with its placeholders."""
    bounds: BoundsCopy | None = None
    """The range in which it passes; durations are seconds."""
    compare: bool | None = None
    """Whether it is compared with stable."""
    tolerance: float | None = None
    """How many times stable's value."""
    slack: float | None = None
    """What may come on top."""
    interval: str | None = None
    """Time between two questions."""
    window: str | None = None
    """What {{window}} stands for."""
    failure_limit: FailureLimitCopy | None = None
    """How many failed verdicts are a breach."""
    on_no_data: str | None = None
    """Hold or Rollback."""
    no_data_deadline: str | None = None
    """For how long no answer only holds."""
    min_passes: int | None = None
    """How many passes a step needs."""
    template: str | None = None
    """Name of the template that the query is from, where a PromotionPolicy named it."""
    asks_server: bool | None = None
    """Whether a built-in template asks what the model server counts."""
    of_copies: bool | None = None
    """Whether it is about answers to copied requests, and so asked in the shadow only."""


class PlanCopy(Block):
    """What an attempt is held to."""

    gates: GatesCopy | None = None
    """Checks before any traffic."""
    shadow: ShadowCopy | None = None
    """Copied traffic before live traffic."""
    steps: tuple[StepCopy, ...] | None = None
    """Shares of live traffic."""
    guardrails: tuple[GuardrailCopy, ...] | None = None
    """Checks while there is traffic."""
    ready_deadline: str | None = None
    """For how long the version may take to get ready."""
    effect_deadline: str | None = None
    """For how long the proxies may take to follow a write."""
