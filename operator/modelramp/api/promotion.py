"""The spec of a PromotionPolicy, and the way to the core's values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from modelramp.api.convert import read_guardrail
from modelramp.api.gateconvert import core_gates
from modelramp.api.gates import (
    CoverageGate,
    DecisionGate,
    FairnessGate,
    Gates,
    LineageGate,
    MetricGate,
    NameGate,
    SignatureGate,
    TagsGate,
)
from modelramp.api.guardrail import ASKED_ABOUT, Guardrail
from modelramp.api.policy import PolicyGate
from modelramp.api.problem import Problem, problem_of
from modelramp.api.rules import Block, Rule, matches
from modelramp.api.scalars import Count, Duration, Label, Percent, Query
from modelramp.api.spec import LASTS
from modelramp.api.staging import RollbackGate, StagingGate
from modelramp.rollout import rulebook as core
from modelramp.rollout.gates import spec as rules
from modelramp.rollout.queries import problems
from modelramp.rollout.spec import Guardrail as CoreGuardrail
from modelramp.rollout.spec import Shadow
from modelramp.rollout.templates import BUILT_IN, COPIES, ROUTER

_Value = Annotated[str, Field(max_length=253)]
_Pairs = Annotated[dict[str, _Value], Field(max_length=16)]
_MAP_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class Selector(Block):
    """Whom the policy is for. All that is given must match; an empty selector selects every ModelDeployment."""

    namespaces: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=63)], ...], Field(max_length=100)] = ()
    """Names of namespaces, one of which it is in."""
    namespace_labels: _Pairs = Field(default_factory=dict)
    """Labels that its namespace has."""
    labels: _Pairs = Field(default_factory=dict)
    """Labels that it has itself."""
    tags: _Pairs = Field(default_factory=dict)
    """Tags that the pinned version has in MLflow, such as risk: tier1."""


class SignatureFloor(Block):
    """What the model's signature must be."""

    required: bool = False
    """Refuse a version that was logged without a signature, also where the spec would not."""
    compatible_with: Literal["Stable", "None"] = "None"
    """Stable: requests and answers of the version that serves stay valid, also where the spec does not ask for it."""


class GatesFloor(Block):
    """Gates that a version has to pass beside those of its spec, whose fields these are."""

    name: NameGate | None = None
    """What the model's name must be, besides a product's name."""
    metrics: Annotated[tuple[MetricGate, ...], Field(max_length=50)] = ()
    """Bounds on logged metrics."""
    signature: SignatureFloor = SignatureFloor()
    """What the model's signature must be."""
    fairness: Annotated[tuple[FairnessGate, ...], Field(max_length=32)] = ()
    """Bounds on fairness metrics."""
    coverage: Annotated[tuple[CoverageGate, ...], Field(max_length=8)] = ()
    """Least shares of the evaluation that were covered."""
    lineage: LineageGate | None = None
    """What must be known of where a version came from. Its featureTableTag holds where it requires FeatureTables."""
    tags: TagsGate | None = None
    """Tags that must be set; {} stands for the usual seven."""
    decision: DecisionGate | None = None
    """A note that says why this version is to go live; its tag and artifact hold in place of the spec's."""
    policy: PolicyGate = PolicyGate()
    """What the business rules must be."""
    staging: StagingGate | None = None
    """How the candidate's pods answer replayed requests: at least as many, as many at a time, within these bounds. Its
    dataset holds in place of the spec's; its deadline only where the spec asks for no staging."""
    rollback: RollbackGate | None = None
    """Whether the version to fall back to could take over; {} asks it."""


class ShadowFloor(Block):
    """The shortest shadow. Where the spec has none, the version is put into one."""

    percent: Percent = 1
    """Percent of live requests that are copied, at least; 100 where the spec has no shadow."""
    duration: Duration = timedelta(0)
    """For how long at least, such as 24h."""
    min_requests: Count = 0
    """On how many copied requests at least."""

    rules: ClassVar = (LASTS,)


class RampFloor(Block):
    """The way to all traffic, at its fastest."""

    first_step: Percent = 100
    """The largest first step in percent. Where the spec's is larger, one of this size comes before it and waits for
    what that one waits for."""
    hold: Duration = timedelta(0)
    """How long every step is held at least."""
    min_requests: Count = 0
    """How many requests the candidate has had in every step, at least."""


class Floor(Block):
    """The least that is asked. A spec may be stricter, never looser: where it is, this holds instead."""

    gates: GatesFloor = GatesFloor()
    """Gates that a version has to pass beside those of its spec."""
    shadow: ShadowFloor | None = None
    """The shortest shadow."""
    ramp: RampFloor | None = None
    """The way to all traffic, at its fastest."""
    guardrails: Annotated[tuple[Guardrail, ...], Field(max_length=16, json_schema_extra=_MAP_BY_NAME)] = ()
    """Guardrails that watch beside those of the spec, ever after too. In the status they are POLICY/NAME."""


_Name = Annotated[str, Field(min_length=1, max_length=253)]


class OverrideRight(Block):
    """Gates that somebody may override."""

    gates: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=280)], ...], Field(min_length=1, max_length=32)
    ]
    """Names of gates, as status.attempt.gates has them; one that ends with * stands for all that begin so, such as
    metric:*."""
    groups: Annotated[tuple[_Name, ...], Field(max_length=16)] = ()
    """Groups of the API server whose members may."""
    users: Annotated[tuple[_Name, ...], Field(max_length=16)] = ()
    """Users of the API server who may, such as system:serviceaccount:argocd:argocd-application-controller."""

    rules: ClassVar = (
        Rule(
            "size(self.groups) > 0 || size(self.users) > 0",
            "nobody may: give groups, users or both",
            lambda right: bool(right.groups or right.users),
        ),
    )


class Overrides(Block):
    """Which failed gates may be let pass by spec.gates.overrides, and who may write that."""

    allowed: Annotated[tuple[OverrideRight, ...], Field(max_length=16)] = ()
    """What is allowed; all else is not. Without any, nothing."""


class Template(Block):
    """A query with a name."""

    name: Annotated[
        Label,
        matches(f"^({'|'.join(BUILT_IN)})$", "is a built-in template: choose another name", wanted=False),
    ]
    """What a guardrail's template says to get it. Begin it with latency where it answers in seconds; end it with rate
    where it answers with a share from 0 to 1."""
    query: Annotated[
        Query,
        Rule(
            f"self.matches('{ASKED_ABOUT}')",
            "the query must name {{version}} or {{backend}}: it is asked for one version at a time",
            lambda query: re.search(ASKED_ABOUT, query) is not None,
        ),
    ]
    """PromQL that answers with one number, with the placeholders of a guardrail's query."""


class PolicySpec(Block):
    """What the platform asks of every rollout that the policy selects. Where several select one, all of them hold.

    A change holds for attempts whose gates have not been judged yet, never for one that is under way.
    """

    selector: Selector = Selector()
    """Whom the policy is for."""
    floor: Floor = Floor()
    """The least that is asked."""
    overrides: Overrides | None = None
    """Which gates may be overridden, and by whom. Without it, the policy has no say in that."""
    templates: Annotated[tuple[Template, ...], Field(max_length=32, json_schema_extra=_MAP_BY_NAME)] = ()
    """Queries that guardrails of every ModelDeployment in the cluster can name, whomever the policy selects."""


def read_policy(body: Mapping[str, Any]) -> core.PromotionPolicy | Problem:
    """Read a PromotionPolicy as the API server gave it."""
    try:
        read = PolicySpec.model_validate(body.get("spec"))
    except ValidationError as fault:
        return problem_of(fault, "spec")
    return _first_query_problem(read) or _core_policy(body["metadata"], read)


def _first_query_problem(read: PolicySpec) -> Problem | None:
    queries = [(f"spec.floor.guardrails[{at}]", rail.query or "") for at, rail in enumerate(read.floor.guardrails)]
    queries += [(f"spec.templates[{at}]", template.query) for at, template in enumerate(read.templates)]
    found = (Problem(f"{path}.query", "", each) for path, query in queries for each in problems(query))
    return next(found, None)


def _core_policy(metadata: Mapping[str, Any], read: PolicySpec) -> core.PromotionPolicy:
    chosen = read.selector
    return core.PromotionPolicy(
        name=metadata["name"],
        generation=metadata.get("generation", 1),
        selector=core.Selector(chosen.namespaces, chosen.namespace_labels, chosen.labels, chosen.tags),
        floor=_core_floor(read.floor),
        overrides=_allowed(read.overrides) if read.overrides else None,
        templates={template.name: template.query for template in read.templates},
    )


def _allowed(overrides: Overrides) -> tuple[str, ...]:
    """Return the gates; who may is asked where it is known, at admission."""
    return tuple(gate for right in overrides.allowed for gate in right.gates)


def _core_floor(floor: Floor) -> core.Floor:
    shadow, ramp = floor.shadow, floor.ramp
    return core.Floor(
        gates=_core_gates(floor.gates),
        shadow=Shadow(shadow.percent, shadow.duration, shadow.min_requests) if shadow else None,
        ramp=core.RampFloor(ramp.first_step, ramp.hold, ramp.min_requests) if ramp else None,
        guardrails=tuple(_core_guardrail(rail) for rail in floor.guardrails),
    )


def _core_guardrail(rail: Guardrail) -> CoreGuardrail:
    """Return the guardrail without its template's query: that depends on the route of whom the policy selects."""
    read = read_guardrail(rail, {**ROUTER, **COPIES}.get(rail.template or ""))
    return replace(read, query=rail.query or "", template=rail.template or "", asks_server=rail.source == "Server")


def _core_gates(floor: GatesFloor) -> rules.Gates:
    signature = SignatureGate(required=floor.signature.required, compatible_with=floor.signature.compatible_with)
    same = {field: getattr(floor, field) for field in GatesFloor.model_fields if field != "signature"}
    return core_gates(Gates(signature=signature, **same))
