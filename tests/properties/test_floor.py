"""A floor only ever raises: over thousands of plans and policies, seeded and plain as the turns of `worlds`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from modelramp.rollout.floor import applies, tighten
from modelramp.rollout.gates.floor import LISTED
from modelramp.rollout.gates.spec import (
    CompatibleWith,
    CoverageGate,
    Dataset,
    DecisionGate,
    FairnessGate,
    Gates,
    Lineage,
    LineageGate,
    MetricGate,
    NoteFor,
    Override,
    RollbackGate,
    SignatureGate,
    StagingGate,
    TagGate,
)
from modelramp.rollout.rulebook import Floor, PromotionPolicy, RampFloor, Selector, Subject
from modelramp.rollout.spec import Plan, Shadow
from tests.properties.worlds import DURATIONS, NOW, Dice, guardrail, plans

COUNT = 2000
MONTH = timedelta(days=30)
SUBJECT = Subject("shop", {"env": "production"}, {"team": "fraud"}, {"risk": "tier1"})
SELECTORS = (
    Selector(),
    Selector(("shop", "bank")),
    Selector(namespace_labels={"env": "production"}, tags={"risk": "tier1"}),
    Selector(labels={"team": "fraud"}),
    Selector(("bank",)),
    Selector(tags={"risk": "tier2"}),
)


def metric_gate(dice: Dice) -> MetricGate:
    low, high = dice.choice([0.8, 0.9]), dice.choice([0.95, 0.99, None])
    drop = dice.choice([None, 0.01, 0.02])
    return MetricGate(dice.choice(["auc", "f1"]), None if drop else low, high, drop, dice.choice([None, 1.0]))


def staging(dice: Dice) -> StagingGate:
    bounds = [None, timedelta(milliseconds=50), timedelta(milliseconds=80)]
    return StagingGate(
        requests=dice.choice([50, 200, 1000]),
        concurrency=dice.choice([1, 4, 16]),
        p95=dice.choice(bounds),
        p99=dice.choice(bounds),
        error_rate=dice.choice([0.0, 0.01]),
        memory=dice.choice([None, 2**28, 2**29]),
        dataset=dice.choice([None, Dataset("holdout", "requests"), Dataset("edge-cases", "requests")]),
    )


def gates(dice: Dice) -> Gates:
    fairness = (FairnessGate("eo_ratio", dice.choice([0.7, 0.8]), groups=dice.choice([(), ("age",)])),)
    values: tuple[tuple[str, ...], ...] = ((), ("tier1",), ("tier1", "tier2"))
    parts = tuple(sorted(dice.subset(list(Lineage), min_size=1), key=lambda part: part.value))
    return Gates(
        metrics=tuple(metric_gate(dice) for _ in range(dice.randint(0, 3))),
        signature=SignatureGate(dice.flag(), dice.choice(list(CompatibleWith))),
        name_patterns=dice.choice([(), ("fraud_.*",), (".*_detector",)]),
        fairness=dice.choice([(), fairness]),
        coverage=dice.choice([(), (CoverageGate("coverage", dice.choice([0.8, 0.9])),)]),
        lineage=dice.choice([None, LineageGate(parts)]),
        tags=dice.choice([(), (TagGate("risk", dice.choice(values)),)]),
        decision=dice.choice([None, DecisionGate(dice.choice(list(NoteFor)))]),
        require_policy=dice.flag(),
        staging=dice.choice([None, staging(dice)]),
        rollback=dice.choice(
            [None, RollbackGate(), RollbackGate(required=False), RollbackGate(rehearsed_within=MONTH)]
        ),
        overrides=tuple(Override(gate, "known", NOW) for gate in sorted(dice.subset(["metric:auc", "signature"]))),
    )


def policy(dice: Dice, name: str) -> PromotionPolicy:
    shadow = Shadow(dice.randint(1, 100), dice.choice(DURATIONS), dice.choice([0, 5, 50]))
    ramp = RampFloor(dice.choice([1, 5, 20, 100]), dice.choice(DURATIONS), dice.choice([0, 5, 50]))
    rails = tuple(guardrail(dice, name) for name in sorted(dice.subset(["errors", "latency"])))
    floor = Floor(gates(dice), dice.choice([None, shadow]), dice.choice([None, ramp]), rails)
    return PromotionPolicy(
        name, 1, dice.choice(SELECTORS), floor, dice.choice([None, (), ("metric:*",), ("signature",)])
    )


def cases() -> list[tuple[Dice, Plan, list[PromotionPolicy]]]:
    rolled = []
    for seed in range(COUNT):
        dice = Dice(seed)
        plan = replace(plans(dice), gates=gates(dice))
        rolled.append((dice, plan, [policy(dice, name) for name in ("a", "b", "c")[: dice.randint(0, 3)]]))
    return rolled


def assert_gates_as_strict(gates: Gates, asked: Gates) -> None:
    for listed in LISTED:
        found = getattr(gates, listed.field)
        assert all(any(listed.covers(own, gate) for own in found) for gate in getattr(asked, listed.field))
    assert gates.signature.required >= asked.signature.required
    assert CompatibleWith.STABLE in (gates.signature.compatible_with, _opposite(asked.signature.compatible_with))
    assert gates.require_policy >= asked.require_policy
    if asked.lineage:
        assert gates.lineage is not None
        assert set(gates.lineage.require) >= set(asked.lineage.require)
    if asked.decision:
        assert gates.decision is not None
        assert gates.decision.required_for is NoteFor.ALL or asked.decision.required_for is NoteFor.TIER1
    assert_replay_as_strict(gates.staging, asked.staging)
    if asked.rollback and asked.rollback.required:
        assert gates.rollback is not None
        assert gates.rollback.required
        assert asked.rollback.rehearsed_within in (None, gates.rollback.rehearsed_within)


def assert_replay_as_strict(found: StagingGate | None, asked: StagingGate | None) -> None:
    if asked is None:
        return
    assert found is not None
    assert found.requests >= asked.requests
    assert found.concurrency >= asked.concurrency
    assert found.error_rate <= asked.error_rate
    for bound in ("p50", "p95", "p99", "memory"):
        least = getattr(asked, bound)
        assert least is None or (getattr(found, bound) is not None and getattr(found, bound) <= least)
    assert asked.dataset is None or found.dataset is not None


def _opposite(asked: CompatibleWith) -> CompatibleWith:
    return CompatibleWith.NONE if asked is CompatibleWith.STABLE else CompatibleWith.STABLE


def assert_not_looser_than_the_plan(plan: Plan, own: Plan) -> None:
    assert_gates_as_strict(plan.gates, own.gates)
    assert set(own.guardrails) <= set(plan.guardrails)
    if own.shadow:
        assert plan.shadow is not None
        assert plan.shadow.percent >= own.shadow.percent
        assert plan.shadow.duration >= own.shadow.duration
        assert plan.shadow.min_requests >= own.shadow.min_requests
    held = {step.weight: step for step in plan.steps}
    assert held.keys() >= {step.weight for step in own.steps}
    for step in own.steps:
        assert held[step.weight].hold >= step.hold
        assert held[step.weight].min_requests >= step.min_requests
        assert held[step.weight].approval == step.approval
    assert own.steps == () or plan.steps[0].weight <= own.steps[0].weight
    assert all(one.weight < next_.weight for one, next_ in pairwise(plan.steps))
    assert plan.steps == () or plan.steps[-1].weight == 100
    assert (plan.ready_deadline, plan.effect_deadline) == (own.ready_deadline, own.effect_deadline)


def assert_not_looser_than_the_floor(plan: Plan, floor: Floor, name: str) -> None:
    assert_gates_as_strict(plan.gates, floor.gates)
    if floor.shadow:
        assert plan.shadow is not None
        assert plan.shadow.percent >= floor.shadow.percent
        assert plan.shadow.duration >= floor.shadow.duration
        assert plan.shadow.min_requests >= floor.shadow.min_requests
    if floor.ramp:
        assert plan.steps[0].weight <= floor.ramp.first_step
        assert all(step.hold >= floor.ramp.hold for step in plan.steps)
        assert all(step.min_requests >= floor.ramp.min_requests for step in plan.steps)
    watched = {rail.name: rail for rail in plan.guardrails}
    assert all(watched[f"{name}/{rail.name}"] == replace(rail, name=f"{name}/{rail.name}") for rail in floor.guardrails)


def test_the_result_is_never_looser_than_either_side() -> None:
    for _, own, policies in cases():
        plan, _ = tighten(own, applies(policies, SUBJECT))
        assert_not_looser_than_the_plan(plan, own)
        for each in applies(policies, SUBJECT):
            assert_not_looser_than_the_floor(plan, each.floor, each.name)
            assert all(each.allows(asked.gate) for asked in plan.gates.overrides)
        assert set(plan.gates.overrides) <= set(own.gates.overrides)


def test_raising_again_changes_nothing() -> None:
    for _, own, policies in cases():
        plan, _ = tighten(own, applies(policies, SUBJECT))
        assert tighten(plan, applies(policies, SUBJECT)) == (plan, ())


def test_the_order_of_the_policies_does_not_matter() -> None:
    for dice, own, policies in cases():
        assert tighten(own, applies(dice.shuffled(policies), SUBJECT)) == tighten(own, applies(policies, SUBJECT))


def test_what_was_raised_is_told_and_nothing_else() -> None:
    raised = 0
    for _, own, policies in cases():
        plan, told = tighten(own, applies(policies, SUBJECT))
        assert all(each.holds != each.written for each in told)
        assert bool(told) == (plan != own) or plan.shadow != own.shadow
        assert {each.policy for each in told} <= {each.name for each in applies(policies, SUBJECT)}
        raised += bool(told)
    assert raised > COUNT / 4


def test_who_is_not_selected_is_left_alone() -> None:
    for _, own, policies in cases():
        elsewhere = [replace(each, selector=Selector(("bank",))) for each in policies]
        assert tighten(own, applies(elsewhere, SUBJECT)) == (own, ())


def test_a_day_of_shadow_is_not_shortened_by_an_hour() -> None:
    floor = Floor(shadow=Shadow(percent=0, duration=timedelta(hours=24)))
    plan, (told,) = tighten(Plan(), applies([PromotionPolicy("tier1", floor=floor)], SUBJECT))
    assert plan.shadow is not None
    assert (plan.shadow.duration, plan.shadow.percent) == (timedelta(hours=24), 100)
    assert (told.field, told.policy, told.message) == ("shadow.duration", "tier1", "1d instead of 0s")
