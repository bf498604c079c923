"""Raise a plan to the floor that policies set: what is stricter stays, what is looser is tightened, and told.

The result is never looser than the plan or any policy; raising it again changes nothing; the order of the policies
does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TypeVar

from modelramp.rollout.durations import text
from modelramp.rollout.gates.floor import raise_gates
from modelramp.rollout.gates.spec import Override
from modelramp.rollout.rulebook import PromotionPolicy, Subject
from modelramp.rollout.spec import Guardrail, Plan, Shadow, Step
from modelramp.rollout.status import Raised

Tightened = tuple[Plan, tuple[Raised, ...]]
Amount = TypeVar("Amount", int, timedelta)

MOST_TOLD = 32


def tighten(plan: Plan, applying: Sequence[PromotionPolicy]) -> Tightened:
    """Return the plan that the policies that apply leave, and what was raised, at most MOST_TOLD of it."""
    told: tuple[Raised, ...] = ()
    for raise_part in (_gates, _shadow, _ramp, _guardrails):
        plan, more = raise_part(plan, applying)
        told += more
    return plan, told[:MOST_TOLD]


def applies(policies: Iterable[PromotionPolicy], subject: Subject) -> tuple[PromotionPolicy, ...]:
    """Return the policies that select the subject, by name."""
    return tuple(sorted((one for one in policies if one.selector.selects(subject)), key=lambda one: one.name))


def _highest(own: Amount, asked: Iterable[tuple[Amount, str]]) -> tuple[Amount, str]:
    """Return the highest demand and the policy whose it is: "" where the plan's own is high enough."""
    highest, policy = max(asked, key=lambda each: each[0])
    return (highest, policy) if highest > own else (own, "")


def _gates(plan: Plan, policies: Sequence[PromotionPolicy]) -> Tightened:
    gates, told = raise_gates(plan.gates, [(policy.name, policy.floor.gates) for policy in policies])
    refusing = [(asked, _refusing(asked.gate, policies)) for asked in plan.gates.overrides]
    kept = tuple(asked for asked, policy in refusing if policy is None)
    dropped = (_dropped(asked, policy) for asked, policy in refusing if policy)
    return replace(plan, gates=replace(gates, overrides=kept)), (*told, *dropped)


def _refusing(gate: str, policies: Iterable[PromotionPolicy]) -> PromotionPolicy | None:
    return next((policy for policy in policies if not policy.allows(gate)), None)


def _dropped(asked: Override, policy: PromotionPolicy) -> Raised:
    why = "" if policy.asked else ", as nobody is asked who writes one"
    until = f"one until {asked.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Raised(f"gates.overrides[{asked.gate}]", policy.name, f"no override{why}", until)


# ---------------------------------------------------------------------- shadow
def _shadow(plan: Plan, policies: Sequence[PromotionPolicy]) -> Tightened:
    floors = [(policy.floor.shadow, policy.name) for policy in policies if policy.floor.shadow]
    if not floors:
        return plan, ()
    own = plan.shadow or Shadow()
    percent, percent_by = _highest(own.percent, ((floor.percent, name) for floor, name in floors))
    duration, duration_by = _highest(own.duration, ((floor.duration, name) for floor, name in floors))
    requests, requests_by = _highest(own.min_requests, ((floor.min_requests, name) for floor, name in floors))
    shadow = replace(own, percent=percent, duration=duration, min_requests=requests)
    told = (
        Raised("shadow.percent", percent_by, str(percent), str(own.percent)),
        Raised("shadow.duration", duration_by, text(duration), text(own.duration)),
        Raised("shadow.minRequests", requests_by, str(requests), str(own.min_requests)),
    )
    return replace(plan, shadow=shadow), tuple(each for each in told if each.policy)


# ---------------------------------------------------------------------- ramp
def _ramp(plan: Plan, policies: Sequence[PromotionPolicy]) -> Tightened:
    floors = [(policy.floor.ramp, policy.name) for policy in policies if policy.floor.ramp]
    if not floors:
        return plan, ()
    first, first_by = min(((floor.first_step, name) for floor, name in floors), key=lambda each: each[0])
    steps, told = _begun_at(plan.steps or (Step(100),), first, first_by)
    raised, told_of_steps = _held(
        steps,
        [(floor.hold, name) for floor, name in floors],
        [(floor.min_requests, name) for floor, name in floors],
    )
    return replace(plan, steps=raised), (*told, *told_of_steps)


def _begun_at(steps: tuple[Step, ...], first: int, policy: str) -> tuple[tuple[Step, ...], tuple[Raised, ...]]:
    """Put a step before the first where that is too large; it waits for what that one waits for."""
    if steps[0].weight <= first:
        return steps, ()
    told = Raised("ramp.firstStep", policy, f"{first} %", f"{steps[0].weight} %")
    return (replace(steps[0], weight=first, approval=False), *steps), (told,)


def _held(
    steps: Iterable[Step], holds: Sequence[tuple[timedelta, str]], requests: Sequence[tuple[int, str]]
) -> tuple[tuple[Step, ...], tuple[Raised, ...]]:
    raised, told = [], []
    for step in steps:
        hold, hold_by = _highest(step.hold, holds)
        least, least_by = _highest(step.min_requests, requests)
        raised.append(replace(step, hold=hold, min_requests=least))
        at = f"ramp.steps[{step.weight} %]"
        told += [Raised(f"{at}.hold", hold_by, text(hold), text(step.hold))] if hold_by else []
        told += [Raised(f"{at}.minRequests", least_by, str(least), str(step.min_requests))] if least_by else []
    return tuple(raised), tuple(told)


# ---------------------------------------------------------------------- guardrails
def _guardrails(plan: Plan, policies: Sequence[PromotionPolicy]) -> Tightened:
    """Add the policies' guardrails under names of their own, such as tier1/errors: none of the spec's can hide one."""
    known = {rail.name for rail in plan.guardrails}
    added = {
        name: (replace(rail, name=name), policy.name)
        for policy in policies
        for rail in policy.floor.guardrails
        if (name := f"{policy.name}/{rail.name}") not in known
    }
    told = (Raised(f"guardrails[{name}]", policy, "watched") for name, (_, policy) in added.items())
    return replace(plan, guardrails=(*plan.guardrails, *(rail for rail, _ in added.values()))), tuple(told)


def is_required(rail: Guardrail) -> bool:
    """Tell whether a policy asked for it: a name in a spec has no slash."""
    return "/" in rail.name
