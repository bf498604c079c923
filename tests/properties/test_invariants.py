"""The invariants of the design, over thousands of turns: one step from any state, whatever is seen.

Each test carries the number of its invariant; `test_mutants.py` proves that each can fail. A property says with its
return value whether the turn was one that it is about; too few of those fail the test.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from modelramp.rollout import approval, traffic
from modelramp.rollout import guardrails as rails
from modelramp.rollout.actions import Post, Release, RunRehearsal, SetTraffic, StopRehearsal, StopVersion
from modelramp.rollout.decide import Decision, decide
from modelramp.rollout.observation import Busy, Entry, Failed, Measurement, NoData, Rehearsal, Value
from modelramp.rollout.rulebook import Rulebook
from modelramp.rollout.spec import Plan, Step
from modelramp.rollout.staging import is_judged
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Status, VerdictKind
from modelramp.rollout.turn import ATTEMPTING, WITH_TRAFFIC, SignalKind
from tests.properties.rehearsals import FAST, SMALL, asked_for
from tests.properties.worlds import NOW, Dice, World, reading, worlds

COUNT = int(os.environ.get("PROPERTY_TURNS", "2000"))
FEW = 20


def over(*phases: Phase) -> Callable[[Callable[[World], bool]], Callable[[], None]]:
    """Run a property over many turns, in these phases if any are named."""

    def wrap(property_: Callable[[World], bool]) -> Callable[[], None]:
        @functools.wraps(property_)
        def test() -> None:
            applied = 0
            for number, world in enumerate(worlds(*phases, count=COUNT)):
                try:
                    applied += property_(world)
                except AssertionError as fault:
                    fault.add_note(f"turn {number}: {world}\n{turn(world)}")
                    raise
            assert applied >= FEW, f"only {applied} of {COUNT} turns were about this"

        del test.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for its arguments
        return test

    return wrap


def turn(world: World) -> Decision:
    return decide(world.spec, world.status, world.seen, world.evidence, claimed=world.claimed)


def share(status: Status, version: str) -> int:
    """Return percent of live traffic plus percent mirrored."""
    split = traffic.desired(status)
    return split.weight(version) + split.mirror.get(version, 0) if split else 0


def live(status: Status, version: str) -> int:
    """Return percent of live traffic."""
    split = traffic.desired(status)
    return split.weight(version) if split else 0


def writes(decision: Decision) -> list[SetTraffic]:
    return [action for action in decision.actions if isinstance(action, SetTraffic)]


@over()
def test_1_weights_sum_to_100_and_stable_is_always_there(world: World) -> bool:
    found = writes(turn(world))
    for write in found:
        assert sum(write.split.weights.values()) == 100
        assert write.stable in write.backends
        assert set(write.split.weights) | set(write.split.mirror) <= set(write.backends)
        plans = [world.spec.plan, *([world.status.attempt.plan] if world.status.attempt else [])]
        others = {weight for version, weight in write.split.weights.items() if version != write.stable}
        assert others <= {0} | {step.weight for plan in plans for step in plan.steps}
    return bool(found)


@over(Phase.STARTING, Phase.STAGING)
def test_2_nobody_is_sent_to_a_version_that_the_router_cannot_connect_to(world: World) -> bool:
    effect, attempt = world.seen.effect, world.status.attempt
    if not isinstance(effect, Value) or attempt is None or attempt.version not in effect.value.unreachable:
        return False
    decision = turn(world)
    tried = decision.status.attempt
    still = tried is not None and tried.id == attempt.id
    assert not (still and decision.status.phase in (*WITH_TRAFFIC, Phase.PROMOTED))
    return still


@over(*WITH_TRAFFIC)
def test_2_up_one_declared_step_at_a_time_and_down_only_to_zero(world: World) -> bool:
    before, after = world.status, turn(world).status
    assert before.candidate is not None
    assert before.attempt is not None
    now, then = live(after, before.candidate.version), live(before, before.candidate.version)
    if now <= then:
        assert now in (then, 0)
        return False
    weights = [0, *(step.weight for step in before.attempt.plan.steps)]
    reached = before.attempt.step + 2 if before.phase is Phase.RAMPING else 1
    only_shadow = len(weights) == 1 and after.phase is Phase.PROMOTED
    assert only_shadow or now == weights[reached]
    return True


@over(*WITH_TRAFFIC)
def test_3_every_increase_was_preceded_by_enough_passing_verdicts_in_effect(world: World) -> bool:
    decision, attempt = turn(world), world.status.attempt
    if decision.signal.kind not in (SignalKind.RAMP, SignalKind.FINISH):
        return False
    assert attempt is not None
    assert attempt.settled_at is not None
    assert traffic.converged(world.status, world.seen)
    assert not world.spec.paused
    shadow = attempt.plan.shadow if world.status.phase is Phase.SHADOWING else None
    assert world.seen.now - attempt.settled_at >= (shadow.duration if shadow else attempt.plan.steps[attempt.step].hold)
    for rail in attempt.plan.guardrails:
        tally = decision.evidence.of(rail.name)
        assert tally.verdict is not None
        assert tally.verdict.kind is VerdictKind.PASS
        assert tally.passes >= rail.min_passes
        assert tally.failures < rail.failure_limit.count
    return bool(attempt.plan.guardrails)


@over(Phase.RAMPING)
def test_3_an_approval_opens_a_step_of_one_attempt_alone(world: World) -> bool:
    attempt = world.status.attempt
    assert attempt is not None
    steps = tuple(replace(step, approval=True) for step in attempt.plan.steps)
    attempt = replace(attempt, plan=replace(attempt.plan, steps=steps))
    plain = f"{attempt.version}/{steps[attempt.step].weight}"

    def opens(approve: str, *tried: str) -> bool:
        spec, status = replace(world.spec, approve=approve), replace(world.status, attempt=attempt, tried=tried)
        return turn(replace(world, spec=spec, status=status)).signal.kind in (SignalKind.RAMP, SignalKind.FINISH)

    assert not opens(plain, "9", attempt.version), "it stayed in git, and was for an earlier attempt"
    assert opens(f"{plain}/{attempt.id}", attempt.version) == opens(plain, "9") == opens(plain)
    return opens(plain)


@over()
def test_3_no_attempt_ends_without_a_trace_of_its_version(world: World) -> bool:
    before, after = world.status, turn(world).status
    if before.attempt is None or (after.attempt is not None and after.attempt.id == before.attempt.id):
        assert after.tried == before.tried
        return False
    assert after.tried[:1] == (before.attempt.version,)
    assert set(after.tried) >= set(before.tried)
    return after.attempt is not None


def test_3_no_approval_of_a_version_that_was_tried_counts_again_however_many_came_after_it() -> None:
    step, status = Step(50, approval=True), Status()
    for number in (*range(1, 41), *range(200, 140, -1), *range(41, 61)):
        ended = Attempt(f"{number}-1f2e3d", str(number), AttemptKind.FRESH, "", Plan(), NOW, NOW)
        status = approval.remember(replace(status, attempt=ended), status)
        assert len(status.tried) <= approval.REMEMBERED_VERSIONS
    for number in (*range(1, 61), *range(141, 201)):
        again = Attempt(f"{number}-4a5b6c", str(number), AttemptKind.FRESH, "", Plan(), NOW, NOW)
        assert approval.wanted(status, again, step) == f"{number}/50/{number}-4a5b6c"
    first = Attempt("201-4a5b6c", "201", AttemptKind.FRESH, "", Plan(), NOW, NOW)
    assert approval.wanted(status, first, step) == "201/50"


@over(Phase.RAMPING)
def test_3_no_data_nan_and_errors_never_count_as_a_pass(world: World) -> bool:
    assert world.status.attempt is not None
    dice = Dice(repr(world.spec))
    for rail in world.status.attempt.plan.guardrails:
        candidate, baseline = reading(dice), reading(dice)
        verdict = rails.judge(rail, Measurement(rail.name, NOW, candidate, baseline))
        if verdict.kind is VerdictKind.PASS:
            assert isinstance(candidate, Value)
            assert float("-inf") < candidate.value <= 0.5
        counted = rails.tally(rail, rails.Tally(passes=2), verdict, NOW, counts=True)
        assert counted.passes == (3 if verdict.kind is VerdictKind.PASS else 0)
    return bool(world.status.attempt.plan.guardrails)


@over(*WITH_TRAFFIC)
def test_3_a_verdict_from_before_the_split_was_in_effect_does_not_count(world: World) -> bool:
    attempt = world.status.attempt
    assert attempt is not None
    if attempt.settled_at is None or world.evidence is None:
        return False
    early = attempt.settled_at - timedelta(seconds=1)
    answers = tuple(Measurement(rail.name, early, Value(0.1), Value(0.1)) for rail in attempt.plan.guardrails)
    silent = turn(replace(world, seen=replace(world.seen, measurements=())))
    asked = turn(replace(world, seen=replace(world.seen, measurements=answers)))
    for rail in attempt.plan.guardrails:
        assert asked.evidence.of(rail.name).passes <= silent.evidence.of(rail.name).passes
    return bool(attempt.plan.guardrails)


@over(*WITH_TRAFFIC)
def test_4_the_first_breach_takes_all_traffic_from_the_candidate_in_the_same_turn(world: World) -> bool:
    decision, attempt, candidate = turn(world), world.status.attempt, world.status.candidate
    assert attempt is not None
    assert candidate is not None
    failed = any(rails.breached(rail, decision.evidence.of(rail.name)) for rail in attempt.plan.guardrails)
    if not failed or world.seen.deleting:
        return False
    assert share(decision.status, candidate.version) == 0
    wanted, stored = traffic.desired(decision.status), world.seen.route
    if wanted is None or isinstance(stored, NoData) or not traffic.differs(wanted, stored):
        return False
    assert any(write.split.same(wanted) and write.retreat for write in writes(decision))
    return True


@over(Phase.ROLLED_BACK, Phase.REJECTED)
def test_5_a_rejected_pin_gets_no_traffic_until_the_spec_changes(world: World) -> bool:
    pinned, status = world.spec.version, world.status
    known = any((r.version, r.fingerprint) == (pinned, world.spec.fingerprint) for r in status.rejected)
    if not known or (status.stable and status.stable.version == pinned):
        return False
    never_stable = tuple(pin for pin in status.previous if pin.version != pinned)
    decision = turn(replace(world, status=replace(status, previous=never_stable)))
    tried = decision.status.attempt
    assert decision.status.phase not in ATTEMPTING or (tried is not None and tried.version != pinned)
    assert share(decision.status, pinned) == 0
    return True


@over()
def test_7_once_the_turn_holds_a_second_look_at_the_same_world_changes_nothing_more(world: World) -> bool:
    first = turn(world)
    if first.signal.kind not in (SignalKind.HOLD, SignalKind.PAUSE):
        return False
    seen = replace(world.seen, measurements=())
    second = decide(world.spec, first.status, seen, first.evidence, claimed=world.claimed)
    third = decide(world.spec, second.status, seen, second.evidence, claimed=world.claimed)
    assert third.status == second.status
    assert {fired.reason for fired in third.events} <= {"RouteRepaired"}
    return True


@over(*WITH_TRAFFIC)
def test_7_a_restart_keeps_the_step_and_its_clock(world: World) -> bool:
    lost = turn(replace(world, evidence=None, seen=replace(world.seen, measurements=())))
    before, after = world.status.attempt, lost.status.attempt
    assert before is not None
    if lost.signal.kind not in (SignalKind.HOLD, SignalKind.PAUSE, SignalKind.SETTLE) or before.settled_at is None:
        return False
    assert after is not None
    assert (after.step, after.settled_at, after.phase_since) == (before.step, before.settled_at, before.phase_since)
    return True


@over()
def test_8_when_nothing_is_missing_nothing_is_done(world: World) -> bool:
    route, decision = world.seen.route, turn(world)
    if not isinstance(route, Value) or not route.value.current or route.value.malformed:
        return False
    for write in writes(decision):
        assert traffic.differs(write.split, route) or route.value.backends != frozenset(write.backends)
    return True


@over()
def test_8_a_turn_that_only_waits_is_not_taken_again_at_once(world: World) -> bool:
    decision = turn(world)
    if decision.signal.kind not in (SignalKind.HOLD, SignalKind.PAUSE) or decision.actions:
        return False
    assert decision.look_again_in is None or decision.look_again_in > timedelta(0)
    return True


@over()
def test_9_what_an_object_leaves_is_handed_over_whatever_is_being_written(world: World) -> bool:
    going = replace(world.seen, deleting=True, deleting_since=NOW, journal=Busy("the records are being written"))
    decision = turn(replace(world, seen=going, claimed=True))
    left = decision.status.outbox
    assert [action.records for action in decision.actions if isinstance(action, Post)] == ([left] if left else [])
    return bool(left)


@over()
def test_9_deletion_leaves_all_traffic_on_stable_and_never_hangs(world: World) -> bool:
    late = replace(world.seen, deleting=True, deleting_since=NOW - timedelta(minutes=5))
    decision = turn(replace(world, seen=late, claimed=True))
    assert any(isinstance(action, Release) for action in decision.actions)
    early = turn(replace(world, seen=replace(late, deleting_since=NOW), claimed=True))
    assert any(isinstance(action, Release) for action in early.actions) or writes(early)
    for write in (*writes(decision), *writes(early)):
        assert write.split.weights == {write.stable: 100}
        assert not write.split.mirror
    return bool(writes(early))


@over(Phase.STARTING, Phase.STAGING, *WITH_TRAFFIC)
def test_10_the_resolved_pin_never_changes_within_an_attempt(world: World) -> bool:
    before, after = world.status, turn(world).status
    assert before.attempt is not None
    assert before.candidate is not None
    if after.phase is Phase.PROMOTED and after.stable and after.stable.version == before.candidate.version:
        assert after.stable in (before.candidate, before.stable, *before.previous)
    if after.phase not in traffic.WITH_CANDIDATE or after.attempt is None or after.attempt.id != before.attempt.id:
        return False
    assert after.candidate == before.candidate
    assert after.attempt.plan == before.attempt.plan
    return True


@over(*WITH_TRAFFIC)
def test_10_an_edited_registry_entry_changes_nothing_mid_ramp_and_is_reported(world: World) -> bool:
    candidate = world.status.candidate
    assert candidate is not None
    edits: tuple[Value[Entry] | NoData, ...] = (
        NoData("VersionNotFound", ""),
        Value(Entry(replace(candidate, created="anew"))),
        Value(Entry(replace(candidate, run_id="other"))),
        Value(Entry(replace(candidate, source="models:/m-other"))),
    )
    same = turn(replace(world, seen=replace(world.seen, pins={candidate.version: Value(Entry(candidate))})))
    drifted = [turn(replace(world, seen=replace(world.seen, pins={candidate.version: edit}))) for edit in edits]
    for decision in drifted:
        _assert_only_the_way_up_is_closed(world, same, decision)
    return same.signal.kind in (SignalKind.RAMP, SignalKind.FINISH, SignalKind.HOLD)


def _assert_only_the_way_up_is_closed(world: World, same: Decision, drifted: Decision) -> None:
    candidate = world.status.candidate
    assert candidate is not None
    if same.signal.kind not in (SignalKind.RAMP, SignalKind.SHADOW, SignalKind.FINISH, SignalKind.HOLD):
        assert drifted.signal == same.signal
        return
    assert drifted.signal.kind is SignalKind.HOLD
    assert live(drifted.status, candidate.version) == live(world.status, candidate.version)
    assert drifted.status.candidate == candidate
    said = [found.message for found in drifted.status.conditions if found.type == "PinDrift" and found.status == "True"]
    assert any(f"version {candidate.version} " in message for message in said)


@over()
def test_a_pause_stops_progress_and_never_protection(world: World) -> bool:
    going = turn(replace(world, spec=replace(world.spec, paused=False)))
    paused = turn(replace(world, spec=replace(world.spec, paused=True)))
    assert paused.signal.kind not in (SignalKind.ACCEPT, SignalKind.SHADOW, SignalKind.RAMP, SignalKind.FINISH)
    if going.signal.kind in PROTECTION:
        assert paused.signal == going.signal
        assert paused.actions == going.actions
    return going.signal.kind in PROTECTION


PROTECTION = (
    SignalKind.RELEASE,
    SignalKind.REVERT,
    SignalKind.BREACH,
    SignalKind.LOST,
    SignalKind.BLIND,
    SignalKind.INEFFECTIVE,
)


@over(*WITH_TRAFFIC)
def test_unknown_never_advances(world: World) -> bool:
    attempt, candidate = world.status.attempt, world.status.candidate
    assert attempt is not None
    assert candidate is not None
    silent = tuple(
        Measurement(rail.name, NOW, Failed("Timeout", ""), Failed("Timeout", "")) for rail in attempt.plan.guardrails
    )
    decision = turn(replace(world, seen=replace(world.seen, measurements=silent)))
    if not attempt.plan.guardrails:
        return False
    assert share(decision.status, candidate.version) <= share(world.status, candidate.version)
    assert decision.signal.kind not in (SignalKind.RAMP, SignalKind.FINISH)
    return True


@over(Phase.GATING)
def test_no_traffic_before_every_gate_has_passed(world: World) -> bool:
    decision = turn(world)
    if decision.signal.kind is not SignalKind.ACCEPT or decision.status.attempt is None:
        pinned_before = decision.signal.kind is SignalKind.WARM_UP
        assert decision.status.phase not in ATTEMPTING or decision.status.candidate is None or pinned_before
        return False
    assert decision.status.attempt.gates
    assert all(result.passed for result in decision.status.attempt.gates)
    return True


@over(Phase.STARTING, Phase.STAGING)
def test_no_traffic_live_or_mirrored_before_the_staging_gates_have_passed(world: World) -> bool:
    before, decision = world.status, turn(world)
    assert before.attempt is not None
    assert before.candidate is not None
    after, version = decision.status, before.candidate.version
    wanted = asked_for(before.attempt.plan.gates)
    if not wanted or before.attempt.kind is AttemptKind.RETURN or after.attempt is None:
        return False
    if after.attempt.id != before.attempt.id or not share(after, version):
        return False
    assert wanted <= {result.gate for result in after.attempt.gates if result.passed}
    assert all(result.passed for result in after.attempt.gates)
    return True


@over(Phase.STAGING)
def test_unknown_or_out_of_bounds_passes_no_staging_gate(world: World) -> bool:
    decision, attempt, seen = turn(world), world.status.attempt, world.seen.rehearsals
    assert attempt is not None
    if decision.signal.kind is not SignalKind.ACCEPT:
        return False
    gate, fallback = attempt.plan.gates.staging, attempt.plan.gates.rollback
    found = seen.value.get(attempt.id) if isinstance(seen, Value) else None
    if gate is not None:
        assert isinstance(found, Rehearsal)
        assert found.candidate is not None
        assert 1 - found.candidate.answered / gate.requests <= gate.error_rate + 1e-12
        for bound, value in ((gate.p50, found.candidate.p50), (gate.p99, found.candidate.p99)):
            assert bound is None or value == FAST
        assert gate.memory is None or found.candidate.memory == SMALL
    if fallback and fallback.required and world.status.stable:
        assert world.spec.serving.keep_warm > 0
        assert isinstance(found, Rehearsal)
        assert found.fallback is not None
        assert found.fallback.answered
    return gate is not None


@over(Phase.STAGING)
def test_an_attempt_is_rehearsed_once_and_what_is_over_is_cleared_away(world: World) -> bool:
    decision, seen = turn(world), world.seen.rehearsals
    begun = [action.attempt for action in decision.actions if isinstance(action, RunRehearsal)]
    ended = {action.attempt for action in decision.actions if isinstance(action, StopRehearsal)}
    there = seen.value.items() if isinstance(seen, Value) else ()
    known = {attempt for attempt, found in there if not isinstance(found, Failed)}
    assert not set(begun) & known
    assert len(begun) <= 1
    assert not begun or isinstance(seen, Value)
    after = decision.status.attempt
    judged = decision.status.phase is not Phase.STAGING or after is None or is_judged(after)
    if isinstance(seen, Value) and not world.spec.problem and not world.seen.deleting:
        assert ended == known - (set() if judged or after is None else {after.id})
    return bool(begun) or bool(ended)


@over()
def test_pods_are_stopped_only_when_no_route_names_them(world: World) -> bool:
    decision = turn(world)
    stopped = {action.version for action in decision.actions if isinstance(action, StopVersion)}
    after = decision.status
    assert not stopped & {pin.version for pin in (after.stable, after.candidate) if pin and after.phase in ATTEMPTING}
    for version in stopped:
        assert live(after, version) == 0
        route = world.seen.route
        assert isinstance(route, NoData) or (isinstance(route, Value) and version not in route.value.backends)
    return bool(stopped)


@over(Phase.STARTING, Phase.STAGING)
def test_only_a_first_or_a_former_stable_version_skips_the_ramp(world: World) -> bool:
    before, after = world.status, turn(world).status
    if after.phase is not Phase.PROMOTED or after.stable != before.candidate or before.attempt is None:
        return False
    nothing_planned = not before.attempt.plan.steps and before.attempt.plan.shadow is None
    assert before.attempt.kind is not AttemptKind.FRESH or nothing_planned
    return True


def unusable(world: World) -> World:
    """Return the same world with a spec that breaks a rule: the fields are from before."""
    return replace(world, spec=replace(world.spec, problem="spec.model.version: 'latest' is no registry version"))


@over()
def test_a_spec_that_cannot_be_used_moves_nothing_forward(world: World) -> bool:
    decision = turn(unusable(world))
    before, after = world.status, decision.status
    assert all(isinstance(action, SetTraffic | Release | Post) for action in decision.actions)
    assert after.candidate in (None, before.candidate)
    if before.candidate is not None and not world.seen.deleting:
        assert share(after, before.candidate.version) in (0, share(before, before.candidate.version))
    return before.phase in ATTEMPTING


@over(*WITH_TRAFFIC)
def test_a_spec_that_cannot_be_used_stops_no_protection(world: World) -> bool:
    usable, unread = turn(world), turn(unusable(world))
    protective = (SignalKind.BREACH, SignalKind.LOST, SignalKind.INEFFECTIVE, SignalKind.BLIND, SignalKind.REVERT)
    if usable.signal.kind not in protective:
        return False
    assert unread.signal == usable.signal
    assert traffic.desired(unread.status) == traffic.desired(usable.status)
    assert [write.split for write in writes(unread)] == [write.split for write in writes(usable) if write.retreat]
    return True


@over(Phase.GATING)
def test_unknown_policies_hold_the_gates_and_nothing_else(world: World) -> bool:
    unknown = replace(world, seen=replace(world.seen, rulebook=Failed("PromotionPoliciesUnknown", "not listed yet")))
    held, known = turn(unknown), turn(replace(world, seen=replace(world.seen, rulebook=Value(Rulebook()))))
    judged = known.signal.kind in (SignalKind.ACCEPT, SignalKind.REFUSE)
    assert judged or held.signal.kind is known.signal.kind
    attempt = world.status.attempt
    if not judged or attempt is None or attempt.version != world.spec.version:
        return False
    assert (held.signal.kind, held.signal.reason) == (SignalKind.HOLD, "PromotionPoliciesUnknown")
    assert held.look_again_in is not None
    assert held.actions or held.look_again_in >= timedelta(seconds=1)
    return True


@over(Phase.PROMOTED, Phase.SHADOWING, Phase.RAMPING, Phase.STARTING, Phase.STAGING, Phase.ROLLED_BACK)
def test_a_change_of_policies_never_reaches_an_attempt_that_is_under_way(world: World) -> bool:
    others = (Value(Rulebook()), Failed("PromotionPoliciesUnknown", "away"))
    stories = [turn(replace(world, seen=replace(world.seen, rulebook=each))) for each in (world.seen.rulebook, *others)]
    if stories[0].signal.kind is SignalKind.REPIN:
        return False
    assert stories[0] == stories[1] == stories[2]
    return world.seen.rulebook not in others
