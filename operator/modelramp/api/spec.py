"""The spec of a ModelDeployment: the CRD's only source."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from modelramp.api.gates import Gates
from modelramp.api.guardrail import Guardrail
from modelramp.api.policy import Policy
from modelramp.api.rules import Block, Rule
from modelramp.api.scalars import Approval, Count, Duration, ModelName, Percent, PositiveDuration, Version
from modelramp.api.serving import Serving
from modelramp.api.traffic import Traffic


class Model(Block):
    """The registry version to serve."""

    name: Annotated[
        ModelName,
        Rule("self == oldSelf", "the model cannot be changed: make a new ModelDeployment for another model"),
    ]
    """Registered model: a product's name, without version, date or state. Cannot be changed."""
    version: Version
    """The pin: a version number in the registry, in quotes. Never an alias or a stage."""


LASTS = Rule(
    "self.duration.matches('[1-9]') || self.minRequests > 0",
    "the shadow would end before it began: give duration, minRequests or both",
    lambda shadow: bool(shadow.duration) or shadow.min_requests > 0,
)
"""What holds of every shadow."""


class Shadow(Block):
    """Copied traffic: the candidate gets it, nobody sees its answers."""

    percent: Percent = 100
    """Percent of live requests that are copied."""
    duration: Duration = timedelta(0)
    """For how long at least, such as 24h."""
    min_requests: Count = 0
    """On how many copied requests at least."""

    rules: ClassVar = (LASTS,)


class Step(Block):
    """One share of live traffic, and what must have happened before the next."""

    weight: Percent
    """Percent of live traffic that the candidate gets."""
    hold: Duration = timedelta(0)
    """How long the share is held at least, counted from when it is seen in effect."""
    min_requests: Count = 0
    """How many requests the candidate must have had in this step."""
    approval: bool = False
    """Wait at the end of this step until spec.approve names it, such as 8/50."""


def _step(weight: int) -> Step:
    return Step(weight=weight, hold=timedelta(hours=1))


_RISING = Rule(
    "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",
    "weights must rise from step to step, such as 1, 10, 50, 100",
    lambda steps: all(one.weight < next_.weight for one, next_ in pairwise(steps)),
)
_TO_ALL = Rule(
    "size(self) == 0 || self[size(self) - 1].weight == 100",
    "the last step's weight must be 100: the ramp ends with all traffic",
    lambda steps: steps[-1].weight == 100,
)


class Ramp(Block):
    """The way to all traffic."""

    steps: Annotated[
        tuple[Step, ...],
        Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        _RISING,
        _TO_ALL,
    ] = (_step(1), _step(10), _step(50), _step(100))
    """Shares in rising order; the last is 100."""
    effect_deadline: PositiveDuration = timedelta(minutes=2)
    """For how long the proxies may take to follow a write, before the candidate is taken back."""


class Spec(Block):
    """What is to be served, and how it gets there. The operator never writes it."""

    model: Model
    """The registry version to serve."""
    serving: Serving = Serving()
    """How each version is run."""
    gates: Gates = Gates()
    """Checks before any traffic."""
    policy: Policy | None = None
    """Business rules that the model server applies to each answer."""
    shadow: Shadow | None = None
    """Copied traffic before live traffic. Without it, a candidate goes from its gates to the first step."""
    ramp: Ramp = Ramp()
    """The way to all traffic."""
    guardrails: Annotated[
        tuple[Guardrail, ...],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Checks while there is traffic: in the shadow, at every step, and for ever after."""
    traffic: Traffic
    """Where the split is written: exactly one backend."""
    paused: bool = False
    """Stop progress. Never stops protection: a broken guardrail still takes the traffic back."""
    abort: Version | None = None
    """Take the traffic back from this version, if it is the pinned one, and do not try it again."""
    approve: Approval | None = None
    """Let the pinned version go on from a step with approval: VERSION/WEIGHT, such as 8/50.

    Where the version was tried before, the attempt too, such as 8/50/8-1f2e3d: status.message says it."""
    retry: Annotated[str, Field(max_length=64)] = ""
    """Any text; a new one tries a rejected version again."""
    drill: Annotated[str, Field(max_length=64)] = ""
    """Any text; a new one rehearses a rollback: all traffic to the version to fall back to, and at once back."""
