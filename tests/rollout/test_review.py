"""What a hostile reader tried: each test is one way in which a bad version got traffic, or a rollback was undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelramp.api.convert import dump_status, read_status
from modelramp.rollout import guardrails as rails
from modelramp.rollout.actions import SetTraffic, StopVersion
from modelramp.rollout.decide import Decision, decide
from modelramp.rollout.machine import sound
from modelramp.rollout.observation import Effect, Measurement, Observation, Posted, Route, Split, Value, Workload
from modelramp.rollout.spec import Bounds, FailureLimit, FailureMode, Guardrail, Plan, Serving, Spec, Step
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Pin, Rejection, Status
from modelramp.rollout.turn import SignalKind

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ERRORS = Guardrail("errors", "up", Bounds(max=0.05))
PLAN = Plan(steps=(Step(10, HOUR), Step(100, HOUR)), guardrails=(ERRORS,))
SPEC = Spec("fraud", "8", Serving(keep_warm=2), PLAN, fingerprint="1:8")


def pin(version: str) -> Pin:
    return Pin(version, f"run{version}", f"models:/m-{version}", f"sha256:{version}")


def attempt(version: str, kind: AttemptKind = AttemptKind.FRESH) -> Attempt:
    since = NOW - 2 * HOUR
    return Attempt(f"{version}-abc", version, kind, f"1:{version}", PLAN, since, since, settled_at=since)


def promoted() -> Status:
    """Version 8 serves, 7 is warm."""
    return Status(Phase.PROMOTED, stable=pin("8"), previous=(pin("7"),), attempt=attempt("8"))


def ramping() -> Status:
    """Version 8 has its first step, 7 is stable, 6 is warm."""
    return Status(Phase.RAMPING, stable=pin("7"), candidate=pin("8"), previous=(pin("6"),), attempt=attempt("8"))


def world(split: dict[str, int], *, written: dict[str, int] | None = None, why: str = "") -> Observation:
    """Everything is ready and follows; the stored split is ours unless `written` is another."""
    stored = Split(split)
    backends = frozenset({"6", "7", "8"})
    route = Route(stored, stored if written is None else Split(written), backends, "kubectl", why)
    pods = {version: Workload(version, 1, 1) for version in sorted(backends)}
    return Observation(NOW, route=Value(route), effect=Value(Effect(stored)), workloads=Value(pods))


def turn(status: Status, seen: Observation, evidence: rails.Evidence | None = None, spec: Spec = SPEC) -> Decision:
    return decide(spec, status, seen, evidence, claimed=True)


def weights(decision: Decision) -> list[dict[str, int]]:
    return [
        {version: share for version, share in action.split.weights.items() if share}
        for action in decision.actions
        if isinstance(action, SetTraffic)
    ]


# ---------------------------------------------------------------- a retreat that a crash, or a conflict, cut short
@pytest.mark.parametrize("why", ["GuardrailFailed: errors", "ManualRollback: by kubectl"])
def test_a_retreat_from_a_promoted_version_whose_status_was_not_written_is_finished(why: str) -> None:
    """The route is at 7, signed by us; the status, for a conflict or a crash, still says 8."""
    decision = turn(promoted(), world({"7": 100}, why=f"retreat 8-abc {why}"))
    assert decision.status.phase is Phase.ROLLED_BACK
    assert decision.status.stable == pin("7")
    assert {"8": 100} not in weights(decision)


def test_a_retreat_from_stable_is_finished_while_another_version_is_on_its_way() -> None:
    starting = replace(promoted(), phase=Phase.STARTING, candidate=pin("9"), attempt=attempt("9"))
    seen = world({"7": 100}, why="retreat 9-abc GuardrailFailed: errors")
    decision = turn(starting, seen, spec=replace(SPEC, version="9", fingerprint="1:9"))
    assert (decision.status.phase, decision.status.stable) == (Phase.ROLLED_BACK, pin("7"))
    assert weights(decision) in ([], [{"7": 100}])


def test_a_retreat_is_signed_so_that_it_can_be_finished_whatever_led_to_the_version_that_failed() -> None:
    """After a pin that came back to stable there is no attempt to sign with."""
    status = replace(promoted(), attempt=None)
    failing = rails.Evidence(rails.Scope("stable 8"), {"errors": rails.Tally(failures=1)})
    first = turn(status, world({"8": 100}), failing)
    assert weights(first) == [{"7": 100}]
    (written,) = (action for action in first.actions if isinstance(action, SetTraffic))
    second = turn(status, world({"7": 100}, why=written.why))
    assert (second.status.phase, second.status.stable) == (Phase.ROLLED_BACK, pin("7"))


@pytest.mark.parametrize("why", ["", "Ready", "retreat 8-old GuardrailFailed: errors"])
def test_a_write_of_ours_that_was_no_retreat_of_this_attempt_is_done_again(why: str) -> None:
    decision = turn(ramping(), world({"7": 100}, why=why))
    assert decision.status.phase is Phase.RAMPING
    assert weights(decision) == [{"7": 90, "8": 10}]


# ---------------------------------------------------------------- every answer counts, and none is written twice
def answers(*values: float) -> tuple[Measurement, ...]:
    """What a guardrail answered while one turn took its time, a second apart, the last one now."""
    return tuple(
        Measurement("errors", NOW - SECOND * (len(values) - 1 - index), Value(value))
        for index, value in enumerate(values)
    )


def test_a_failure_among_the_answers_of_a_slow_turn_is_a_failure() -> None:
    seen = replace(world({"7": 90, "8": 10}), measurements=answers(0.0, 0.9, 0.0))
    assert turn(ramping(), seen).status.phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("mode", list(FailureMode))
def test_answers_that_came_together_count_like_answers_that_came_one_by_one(mode: FailureMode) -> None:
    rail = replace(ERRORS, failure_limit=FailureLimit(9, mode))
    scope = rails.Scope("8-abc", "Ramping 0", NOW - HOUR)
    came = answers(0.0, 0.9, 0.9, 0.0, 0.0)
    together = rails.gather((rail,), rails.Evidence(scope), came, scope).of("errors")
    alone = rails.Evidence(scope)
    for answer in came:
        alone = rails.gather((rail,), alone, (answer,), scope)
    assert together == alone.of("errors")
    assert (together.passes, together.failures) == (2, 2 if mode is FailureMode.TOTAL else 0)


def test_a_guardrail_that_goes_on_failing_where_nothing_can_be_done_is_written_once() -> None:
    """The first version of all has nothing to go back to."""
    status, evidence, written = replace(promoted(), previous=()), None, set()
    for _ in range(20):
        decision = turn(status, replace(world({"8": 100}), measurements=answers(0.9)), evidence)
        status, evidence = decision.status, decision.evidence
        written.add(repr(status))
    assert status.phase is Phase.PROMOTED
    assert len(written) <= 2, "the first answer changes the verdict; the others change nothing"


def test_a_breach_that_could_not_be_acted_on_is_not_forgotten_for_a_pass() -> None:
    """The API server was away when the guardrail failed; the status says what it said before."""
    failed = turn(ramping(), replace(world({"7": 90, "8": 10}), measurements=answers(0.9)))
    passed = turn(ramping(), replace(world({"7": 90, "8": 10}), measurements=answers(0.0)), failed.evidence)
    assert passed.status.phase is Phase.ROLLED_BACK


def test_stable_that_failed_where_nothing_could_be_done_and_recovered_is_left_alone() -> None:
    alone = replace(promoted(), previous=())
    failed = turn(alone, replace(world({"8": 100}), measurements=answers(0.9)))
    recovered = turn(failed.status, replace(world({"8": 100}), measurements=answers(0.0)), failed.evidence)
    assert recovered.evidence.of("errors").failures == 0


# ---------------------------------------------------------------- the user's word
RETURNED = Status(
    Phase.PROMOTED,
    stable=pin("7"),
    previous=(pin("8"), pin("6")),
    attempt=attempt("7", AttemptKind.RETURN),
)
"""Somebody went back from 8 to 7 by the pin."""


def test_a_guardrail_never_sends_traffic_to_the_version_that_the_user_has_just_left() -> None:
    seen = replace(world({"7": 100}), measurements=answers(0.9))
    back = turn(RETURNED, seen, spec=replace(SPEC, version="7", fingerprint="1:7"))
    assert all("8" not in split for split in weights(back))
    assert back.status.stable != pin("8")


def test_a_version_to_which_the_user_went_forward_again_still_falls_back() -> None:
    forward = replace(
        RETURNED, stable=pin("8"), previous=(pin("7"), pin("6")), attempt=attempt("8", AttemptKind.RETURN)
    )
    decision = turn(forward, replace(world({"8": 100}), measurements=answers(0.9)))
    assert (decision.status.phase, decision.status.stable) == (Phase.ROLLED_BACK, pin("7"))


def test_an_abort_of_the_version_that_serves_takes_its_traffic_back() -> None:
    """It came a moment after the last step had passed."""
    decision = turn(promoted(), world({"8": 100}), spec=replace(SPEC, abort="8"))
    assert (decision.status.phase, decision.status.stable) == (Phase.ROLLED_BACK, pin("7"))
    assert weights(decision) == [{"7": 100}]
    after = turn(decision.status, world({"7": 100}), spec=replace(SPEC, abort="8"))
    assert after.status.phase is Phase.ROLLED_BACK


def test_a_version_that_spec_abort_names_is_not_returned_to() -> None:
    status = replace(promoted(), stable=pin("7"), previous=(pin("8"),), attempt=attempt("7", AttemptKind.RETURN))
    decision = turn(status, world({"7": 100}), spec=replace(SPEC, version="8", abort="8"))
    assert decision.status.stable == pin("7")
    assert all(split == {"7": 100} for split in weights(decision))


# ---------------------------------------------------------------- a status that is lost or damaged
def read_back(status: Status, **damage: object) -> Status:
    return sound(read_status({"status": dump_status(status) | damage}))


@pytest.mark.parametrize("field", ["stable", "candidate", "attempt"])
def test_an_attempt_that_lacks_what_it_needs_does_not_go_on(field: str) -> None:
    decision = turn(read_back(ramping(), **{field: "unreadable"}), world({"7": 90, "8": 10}))
    assert decision.status.phase is Phase.GATING
    assert all(split == {"7": 100} for split in weights(decision))


@pytest.mark.parametrize("step", [-1, 2, 1000])
def test_a_step_that_the_plan_does_not_have_is_no_step(step: int) -> None:
    attempt_of = dump_status(ramping())["attempt"]
    decision = turn(read_back(ramping(), attempt=attempt_of | {"step": step}), world({"7": 90, "8": 10}))
    assert decision.status.phase is Phase.GATING
    assert weights(decision) == [{"7": 100}]


def test_a_version_that_has_traffic_and_was_forgotten_is_not_passed_over() -> None:
    decision = turn(Status(), world({"7": 99, "8": 1}))
    assert decision.status.attempt is not None
    assert decision.status.attempt.version == "7"
    assert weights(decision) == []


# ---------------------------------------------------------------- nothing sleeps that could go on
def test_a_step_that_waits_for_nothing_goes_on_without_an_event() -> None:
    """No hold, no requests, no guardrails: once the split is in effect nothing else will wake the loop."""
    bare = replace(attempt("8"), plan=Plan(steps=(Step(10), Step(100))), settled_at=None)
    decision = turn(replace(ramping(), attempt=bare), world({"7": 90, "8": 10}))
    assert decision.signal.kind is SignalKind.SETTLE
    assert decision.look_again_in is not None
    assert decision.look_again_in <= SECOND


def test_a_paused_step_that_could_go_on_sleeps() -> None:
    bare = replace(attempt("8"), plan=Plan(steps=(Step(10), Step(100))))
    decision = turn(replace(ramping(), attempt=bare), world({"7": 90, "8": 10}), spec=replace(SPEC, paused=True))
    assert decision.signal.kind is SignalKind.PAUSE
    assert decision.look_again_in is None or decision.look_again_in >= SECOND


# ---------------------------------------------------------------- time without an operator is nobody's delay
def test_a_split_that_nobody_wrote_while_the_operator_was_away_has_not_been_refused_by_the_routers() -> None:
    """It was remembered ten minutes ago, and the process died before the write."""
    since = NOW - timedelta(minutes=10)
    unsettled = replace(ramping(), attempt=replace(attempt("8"), step=1, phase_since=since, settled_at=None))
    first = turn(unsettled, world({"7": 90, "8": 10}))
    assert weights(first) == [{"8": 100}]
    not_yet = replace(world({"8": 100}), now=NOW + SECOND, effect=Value(Effect(Split({"7": 90, "8": 10}))))
    second = turn(first.status, not_yet, first.evidence)
    assert second.status.phase is Phase.RAMPING
    late = turn(second.status, replace(not_yet, now=NOW + timedelta(minutes=2)), second.evidence)
    assert late.signal.kind is SignalKind.INEFFECTIVE


def test_pods_that_nobody_made_while_the_operator_was_away_are_not_late() -> None:
    starting = replace(ramping(), phase=Phase.STARTING, attempt=replace(attempt("8"), settled_at=None))
    nothing_runs = replace(world({"7": 100}), workloads=Value({"7": Workload("7", 1, 1)}))
    first = turn(starting, nothing_runs)
    assert first.status.phase is Phase.STARTING
    late = turn(first.status, replace(nothing_runs, now=NOW + timedelta(minutes=10)), first.evidence)
    assert late.signal.kind is SignalKind.EXPIRE


# ---------------------------------------------------------------- requests that count
def test_requests_from_before_the_step_do_not_count_after_a_counter_fell() -> None:
    """The node with the leader and one of two routers is gone; the other router's counter is from before the step."""
    plan = replace(PLAN, steps=(Step(10, min_requests=2000), Step(100, HOUR)), guardrails=())
    under_way = replace(ramping(), attempt=replace(attempt("8"), plan=plan, counted_from=5000))
    split = Split({"7": 90, "8": 10})
    seen = replace(world({"7": 90, "8": 10}), effect=Value(Effect(split, {"8": 3020})))
    first = turn(under_way, seen)
    assert first.status.attempt is not None
    assert first.status.attempt.step == 0
    assert first.status.attempt.settled_at == under_way.attempt.settled_at  # type: ignore[union-attr]
    few = replace(seen, effect=Value(Effect(split, {"8": 5019})))
    assert turn(first.status, few, first.evidence).signal.kind is SignalKind.HOLD
    enough = replace(seen, effect=Value(Effect(split, {"8": 5020})))
    assert turn(first.status, enough, first.evidence).signal.kind is SignalKind.RAMP


# ---------------------------------------------------------------- what is no longer needed goes, and nothing spins
GONE_BACK = replace(
    promoted(),
    phase=Phase.ROLLED_BACK,
    stable=pin("7"),
    previous=(),
    rejected=(Rejection("8", "1:8", "GuardrailFailed", "", NOW),),
)


def test_an_object_at_rest_looks_again_until_the_version_that_left_has_no_pods() -> None:
    """Nothing else wakes it: after a rollback guardrails rest, and the last request may take its time."""
    busy = Effect(Split({"7": 100}), active={"8": 1})
    seen = replace(world({"7": 100}), effect=Value(busy))
    waiting = turn(GONE_BACK, seen)
    assert waiting.look_again_in is not None
    assert waiting.look_again_in >= timedelta(milliseconds=250)
    unrouted = Route(Split({"7": 100}), Split({"7": 100}), frozenset({"7"}))
    drained = replace(seen, route=Value(unrouted), effect=Value(Effect(Split({"7": 100}))))
    assert StopVersion("8") in turn(GONE_BACK, drained).actions
    gone = replace(drained, workloads=Value({"7": Workload("7", 1, 1)}))
    assert turn(turn(GONE_BACK, gone).status, gone).look_again_in is None


def test_a_pause_before_the_gates_are_judged_asks_nobody_again_and_again() -> None:
    gating = replace(promoted(), phase=Phase.GATING, attempt=attempt("9"))
    paused = replace(SPEC, version="9", fingerprint="1:9", paused=True)
    seen = replace(world({"8": 100}), workloads=Value({v: Workload(v, 1, 1) for v in ("7", "8")}))
    seen = replace(seen, route=Value(Route(Split({"8": 100}), Split({"8": 100}), frozenset({"7", "8"}))))
    first = turn(gating, seen, spec=paused)
    told = replace(seen, journal=Value(Posted(frozenset(record.id for record in first.status.outbox))))
    assert turn(first.status, told, spec=paused).look_again_in is None
