"""Settle what an attempt is held to: its spec's plan, with the policies' queries filled in, raised to their floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from modelramp.rollout.floor import applies, tighten
from modelramp.rollout.observation import Busy, ModelVersion, Reading, Value
from modelramp.rollout.rulebook import PromotionPolicy, Rulebook
from modelramp.rollout.runtime import Protocol
from modelramp.rollout.server_queries import built_in
from modelramp.rollout.spec import Guardrail, Plan, Spec
from modelramp.rollout.status import Applied, Attempt, AttemptKind, Raised, Status
from modelramp.rollout.templates import BUILT_IN

MOST_GUARDRAILS = 64


@dataclass(frozen=True, slots=True)
class Settled:
    """The plan that holds, who had a say in it, and what was raised."""

    plan: Plan
    policies: tuple[Applied, ...] = ()
    raised: tuple[Raised, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Why it is not known what the attempt is to be held to."""

    reason: str
    message: str


def settle(
    attempt: Attempt, spec: Spec, model: Reading[ModelVersion] | Busy | None, rulebook: Reading[Rulebook]
) -> Settled | Unsettled:
    """Return what holds for the attempt; what has traffic without being pinned waits for no policy."""
    if attempt.version != spec.version:
        return Settled(attempt.plan)
    if not isinstance(rulebook, Value):
        return Unsettled(rulebook.reason, rulebook.message)
    if not isinstance(model, Value):
        return Unsettled("Resolving", "the version's tags, by which policies select, are not known yet")
    subject = replace(rulebook.value.subject, tags={key: value.strip() for key, value in model.value.tags.items()})
    applying = applies(rulebook.value.policies, subject)
    plan, raised = tighten(attempt.plan, applying)
    rails = fill(plan.guardrails, named_queries(rulebook.value.policies), spec)
    settled = replace(plan, guardrails=rails)
    uncompared = None if attempt.kind is AttemptKind.RETURN else _uncompared(settled, spec)
    if complaint := _complaint(settled, rulebook.value.policies, spec) or uncompared:
        return complaint
    told = tuple(Applied(policy.name, policy.generation) for policy in applying)
    return Settled(settled, told, raised)


def _complaint(plan: Plan, policies: Iterable[PromotionPolicy], spec: Spec) -> Unsettled | None:
    """Return why nothing can be held to the plan."""
    runtime = spec.serving.runtime
    if plan.gates.staging and runtime.protocol is not Protocol.MLFLOW:
        says = f"runtime {runtime.name} has no /invocations, to which the requests of gates.staging are sent"
        return Unsettled("StagingNotSupported", says)
    if len(plan.guardrails) > MOST_GUARDRAILS:
        return Unsettled("TooManyGuardrails", f"{len(plan.guardrails)} with those of policies, of {MOST_GUARDRAILS}")
    missing = next((rail for rail in plan.guardrails if not rail.query), None)
    return Unsettled(*_missing(missing, policies, spec)) if missing else None


def _uncompared(plan: Plan, spec: Spec) -> Unsettled | None:
    """Return why a guardrail on answers to copies could never be asked, which must not look like a pass.

    A version that returns is not in the shadow again: it is nothing to wait for.
    """
    rail = next((rail for rail in plan.guardrails if rail.of_copies), None)
    lacking = [] if spec.serving.capture else ["spec.serving.capture"]
    lacking += [] if plan.shadow else ["spec.shadow"]
    if rail is None or not lacking:
        return None
    says = f"guardrail {rail.name} compares answers to copied requests: give {' and '.join(lacking)}"
    return Unsettled("AnswersNotCompared", says)


def _missing(rail: Guardrail, policies: Iterable[PromotionPolicy], spec: Spec) -> tuple[str, str]:
    if rail.template in BUILT_IN:
        says = f"runtime {spec.serving.runtime.name} does not count what template {rail.template} asks for"
        return "TemplateNotCounted", f"guardrail {rail.name}: {says}"
    having = sorted(policy.name for policy in policies if rail.template in policy.templates)
    if having:
        among = " and ".join(having)
        return "TemplateAmbiguous", f"guardrail {rail.name}: {among} say different things of template {rail.template}"
    return "TemplateNotFound", f"guardrail {rail.name}: no PromotionPolicy has a template {rail.template}"


def named_queries(policies: Iterable[PromotionPolicy]) -> Mapping[str, str]:
    """Return the policies' queries by name; a name that stands for two of them stands for none."""
    found: dict[str, set[str]] = {}
    for policy in policies:
        for name, query in policy.templates.items():
            found.setdefault(name, set()).add(query)
    return {name: next(iter(queries)) for name, queries in found.items() if len(queries) == 1}


def fill(rails: Iterable[Guardrail], queries: Mapping[str, str], spec: Spec) -> tuple[Guardrail, ...]:
    """Give each guardrail with a template its query, a built-in one or a policy's, none where there is none."""
    return tuple(replace(rail, query=_query(rail, queries, spec)) if rail.template else rail for rail in rails)


def _query(rail: Guardrail, queries: Mapping[str, str], spec: Spec) -> str:
    if rail.template not in BUILT_IN:
        return queries.get(rail.template, "")
    found = built_in(rail.template, spec.serving.runtime, spec.traffic, asks_server=rail.asks_server)
    return found.query if found else ""


def filled(spec: Spec, status: Status, rulebook: Reading[Rulebook]) -> Spec:
    """Return the spec with the queries of its templates, as the newest attempt has them, else as they are now."""
    rails = spec.plan.guardrails
    now = named_queries(rulebook.value.policies) if isinstance(rulebook, Value) else {}
    copied = status.attempt.plan.guardrails if status.attempt else ()
    queries = {**now, **{rail.template: rail.query for rail in copied if rail.template and rail.query}}
    return replace(spec, plan=replace(spec.plan, guardrails=fill(rails, queries, spec)))


def has_templates(spec: Spec) -> bool:
    """Tell whether a guardrail of the spec has a policy's template."""
    return any(rail.template for rail in spec.plan.guardrails)
