"""Judge whether an attempt may go on, and if not, what it waits for."""

from __future__ import annotations

from datetime import timedelta

from modelramp.rollout import approval, staging
from modelramp.rollout.drift import PIN_DRIFT, drifted
from modelramp.rollout.durations import text
from modelramp.rollout.gates.override import override
from modelramp.rollout.gating import conclude, judge_gating
from modelramp.rollout.guardrails import satisfied
from modelramp.rollout.observation import Failed, Value
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Status, VerdictKind
from modelramp.rollout.traffic import UNUSABLE, converged, is_scarce
from modelramp.rollout.turn import UNREADABLE, WITH_TRAFFIC, Signal, SignalKind, Turn, waited, watched


def judge(turn: Turn) -> Signal:
    """Return the signal that moves the attempt on, or a hold that says what it waits for."""
    candidate = turn.status.candidate
    if candidate and (said := drifted(candidate, turn.status.conditions, turn.seen)):
        return _hold(PIN_DRIFT, f"{said}; it gets no more traffic")
    match turn.status.phase, turn.status.attempt:
        case Phase.GATING, Attempt() as attempt:
            return judge_gating(turn, attempt)
        case Phase.STARTING, Attempt() as attempt:
            return _starting(turn, attempt)
        case Phase.STAGING, Attempt() as attempt:
            return _staging(turn, attempt)
        case ((Phase.SHADOWING | Phase.RAMPING), Attempt() as attempt):
            return _with_traffic(turn, attempt)
        case _:
            return _at_rest(turn.status)


def _at_rest(status: Status) -> Signal:
    """Repeat the reason that stands; after a spec that could not be used, one for the state that it left."""
    if status.reason != UNREADABLE:
        return _hold(status.reason, status.message)
    if status.phase is Phase.PROMOTED or not status.rejected:
        return _hold("Promoted", f"version {status.stable.version} serves" if status.stable else "")
    return _hold(status.rejected[0].reason, status.rejected[0].message)


def _hold(reason: str, message: str) -> Signal:
    return Signal(SignalKind.HOLD, reason, message)


def _starting(turn: Turn, attempt: Attempt) -> Signal:
    if waits := _until_ready(turn, attempt):
        return waits
    if staging.is_wanted(attempt):
        return Signal(SignalKind.REHEARSE, "Ready", f"version {attempt.version} is ready, and answers nobody yet")
    return _onward(turn, attempt)


def _staging(turn: Turn, attempt: Attempt) -> Signal:
    if staging.is_judged(attempt):
        return _until_ready(turn, attempt) or _onward(turn, attempt)
    results = staging.judge(turn, attempt)
    if isinstance(results, staging.Waits):
        return _hold(results.reason, results.message)
    judged = override(results, attempt.plan.gates.overrides, turn.seen.now)
    return conclude(judged, "; ".join(result.message for result in judged))


def _until_ready(turn: Turn, attempt: Attempt) -> Signal | None:
    if complaint := _not_ready(turn):
        late = waited(turn, attempt) >= attempt.plan.ready_deadline
        if late and isinstance(turn.seen.workloads, Value):
            return Signal(
                SignalKind.EXPIRE, "NeverReady", f"not ready within {text(attempt.plan.ready_deadline)}: {complaint}"
            )
        return _hold("WaitingForPods", complaint)
    return None


def _onward(turn: Turn, attempt: Attempt) -> Signal:
    following = _following(attempt)
    return _unrouted(turn, attempt, following) or Signal(following, "Ready", f"version {attempt.version} is ready")


def _unrouted(turn: Turn, attempt: Attempt, following: SignalKind) -> Signal | None:
    """Return what the route is not ready for; a version that returns waits for nothing."""
    route, effect = turn.seen.route, turn.seen.effect
    if isinstance(route, Failed) and attempt.kind is not AttemptKind.RETURN:
        known = route.reason in UNUSABLE
        return _hold(route.reason if known else "WaitingForEffect", route.message)
    if following is SignalKind.SHADOW and isinstance(route, Value) and route.value.refuses:
        return _hold("MirrorNotSupported", route.value.refuses)
    if following is not SignalKind.FINISH and not converged(turn.status, turn.seen):
        return _hold("WaitingForEffect", f"waiting until the router has taken up the present split{_objection(turn)}")
    if isinstance(effect, Value) and attempt.version in effect.value.unreachable:
        return _hold("WaitingForEffect", f"waiting until the router can connect to version {attempt.version}")
    return None


def _not_ready(turn: Turn) -> str:
    candidate, reading = turn.status.candidate, turn.seen.workloads
    if not isinstance(reading, Value):
        return f"the pods' state is unknown: {reading.reason}"
    workload = reading.value.get(candidate.version) if candidate else None
    if workload is None:
        return "the Deployment is being made"
    if not workload.current or workload.ready < max(1, workload.desired):
        return f"{workload.ready} of {workload.desired} pods ready" + (
            f": {workload.trouble}" if workload.trouble else ""
        )
    return ""


def _following(attempt: Attempt) -> SignalKind:
    if attempt.kind is not AttemptKind.FRESH:
        return SignalKind.FINISH
    if attempt.plan.shadow:
        return SignalKind.SHADOW
    return SignalKind.RAMP if attempt.plan.steps else SignalKind.FINISH


def _with_traffic(turn: Turn, attempt: Attempt) -> Signal:
    where = _where(turn, attempt)
    if waits := _waits_for(turn, attempt):
        return _hold(waits[0], f"{where}: {waits[1]}")
    last = turn.status.phase is Phase.RAMPING and attempt.step + 1 >= len(attempt.plan.steps)
    if last or not attempt.plan.steps:
        return Signal(SignalKind.FINISH, "Promoted", f"version {attempt.version} passed every step")
    return Signal(SignalKind.RAMP, "StepPassed", f"{where}: passed")


def _where(turn: Turn, attempt: Attempt) -> str:
    if turn.status.phase is Phase.SHADOWING:
        return "Shadow"
    return f"Step {attempt.step + 1} of {len(attempt.plan.steps)} ({attempt.plan.steps[attempt.step].weight} %)"


def _waits_for(turn: Turn, attempt: Attempt) -> tuple[str, str] | None:
    """Return the reason and the sentence of the first thing that is missing, None when nothing is."""
    hold, least, approved = demands(turn, attempt)
    if attempt.settled_at is None or not converged(turn.status, turn.seen):
        return _awaited_effect(turn)
    if turn.seen.now - attempt.settled_at < hold:
        return "Holding", f"held for {text(hold)}"
    if requests(turn, attempt) < least:
        return "WaitingForRequests", f"waiting for {least} requests to the candidate"
    for guardrail in watched(turn.spec, turn.status):
        tally = turn.evidence.of(guardrail.name)
        if not satisfied(guardrail, tally):
            silent = tally.verdict is not None and tally.verdict.kind is not VerdictKind.PASS
            said = f" ({tally.verdict.reason})" if tally.verdict and silent else ""
            return (
                "WaitingForGuardrails",
                f"waiting for guardrail {guardrail.name} to pass {guardrail.min_passes} times{said}",
            )
    if approved and turn.spec.approve != approved:
        return "AwaitingApproval", f'waiting for approval: set spec.approve to "{approved}"'
    return None


def _awaited_effect(turn: Turn) -> tuple[str, str]:
    if is_scarce(turn.status, turn.seen):
        return "TooFewRequests", "the split is stored; too few requests have come to see whether it is in effect"
    return "WaitingForEffect", f"waiting until the router has taken up the split{_objection(turn)}"


def _objection(turn: Turn) -> str:
    effect = turn.seen.effect
    return f": {effect.value.rejection}" if isinstance(effect, Value) and effect.value.rejection else ""


def demands(turn: Turn, attempt: Attempt) -> tuple[timedelta, int, str]:
    """Return the time, the requests and the approval that the present stage asks for."""
    shadow = attempt.plan.shadow
    if turn.status.phase is Phase.SHADOWING and shadow:
        return shadow.duration, shadow.min_requests, ""
    step = attempt.plan.steps[attempt.step]
    return step.hold, step.min_requests, approval.wanted(turn.status, attempt, step)


def requests(turn: Turn, attempt: Attempt) -> int:
    """Return the requests to the candidate since the split was in effect."""
    if not isinstance(turn.seen.effect, Value):
        return 0
    return max(0, turn.seen.effect.value.requests.get(attempt.version, 0) - attempt.counted_from)


def counters_fell(turn: Turn) -> bool:
    """Tell whether the routers have counted less than before: what they count now may be older than the step."""
    attempt, effect = turn.status.attempt, turn.seen.effect
    if turn.status.phase not in WITH_TRAFFIC or attempt is None or not isinstance(effect, Value):
        return False
    return effect.value.requests.get(attempt.version, 0) < attempt.counted_from
