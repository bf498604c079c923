"""Say what happened and how things stand: reason, conditions, events and history from before and after.

Messages are stable: no clock times, no measured values that change from turn to turn, so that a turn in which
nothing happened writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modelramp.rollout import conditions, drill, policy, progress, sunset, traffic
from modelramp.rollout.actions import Event
from modelramp.rollout.archive import address, shelve
from modelramp.rollout.drift import PIN_DRIFT
from modelramp.rollout.observation import Observation
from modelramp.rollout.record import Decided, record
from modelramp.rollout.status import Condition, GuardrailState, Phase, Status, VerdictKind
from modelramp.rollout.turn import ATTEMPTING, UNREADABLE, Signal, SignalKind, Turn

TOLD_IN_AN_EVENT = 8

EVENTS = {
    SignalKind.RELEASE: ("Released", True),
    SignalKind.REVERT: ("ManualRollback", False),
    SignalKind.ABORT: ("Aborted", False),
    SignalKind.RESTORE: ("Restored", True),
    SignalKind.RETURN: ("Returned", True),
    SignalKind.WARM_UP: ("WarmingUp", True),
    SignalKind.REPIN: ("AttemptStarted", True),
    SignalKind.RECALL: ("NotTriedAgain", False),
    SignalKind.BREACH: ("RolledBack", False),
    SignalKind.LOST: ("RolledBack", False),
    SignalKind.INEFFECTIVE: ("RolledBack", False),
    SignalKind.BLIND: ("RolledBack", False),
    SignalKind.REFUSE: ("GatesFailed", False),
    SignalKind.EXPIRE: ("CandidateNeverReady", False),
    SignalKind.ACCEPT: ("GatesPassed", True),
    SignalKind.REHEARSE: ("StagingStarted", True),
    SignalKind.SHADOW: ("ShadowStarted", True),
    SignalKind.RAMP: ("StepStarted", True),
    SignalKind.FINISH: ("Promoted", True),
    SignalKind.DRILL: (drill.STARTED, True),
    SignalKind.DRILLED: (drill.REHEARSED, True),
}
"""The event of each signal that changes the phase or the step: its reason and whether it is Normal."""

NOTABLE_HOLDS = frozenset(
    {"AwaitingApproval", "VersionNotFound", "ModelNotFound", "WaitingForRequests", "Paused", UNREADABLE}
)
VERDICT_EVENTS = {
    VerdictKind.FAIL: ("GuardrailFailing", False),
    VerdictKind.NO_DATA: ("GuardrailNoData", False),
    VerdictKind.INCONCLUSIVE: ("GuardrailInconclusive", False),
    VerdictKind.PASS: ("GuardrailPassing", True),
}


def tell(turn: Turn, signal: Signal, after: Status) -> Status:
    """Return the status with its words: reason, message, columns, conditions and history."""
    told = _reasoned(turn, signal, after)
    told = replace(told, **_columns(told))  # type: ignore[arg-type]
    new = record(turn, signal, told, _decided(turn, signal, told), policy.decided(turn, told))
    told = replace(told, observed_generation=turn.seen.generation, history=shelve(after.history, new))
    told = replace(told, outbox=address(turn.status.outbox, new, turn.seen.journal))
    return replace(told, conditions=conditions.describe(told, turn.status.conditions, turn.seen))


def _reasoned(turn: Turn, signal: Signal, after: Status) -> Status:
    if signal.kind in drill.KINDS:  # a rehearsal is no reason for how things stand
        return after
    if signal.kind in (SignalKind.HOLD, SignalKind.PAUSE) or after.phase not in ATTEMPTING:
        return replace(after, reason=signal.reason, message=signal.message)
    ahead = progress.judge(Turn(turn.spec, after, _unasked(turn.seen), turn.evidence))
    said = ahead if ahead.kind is SignalKind.HOLD else signal
    return replace(after, reason=said.reason, message=said.message)


def _unasked(seen: Observation) -> Observation:
    """Forget what was read for another attempt's sake: the next turn reads it anew."""
    return replace(seen, model=None, stable_model=None)


def _columns(status: Status) -> dict[str, object]:
    wanted, candidate, attempt = traffic.desired(status), status.candidate, status.attempt
    weight = wanted.weight(candidate.version) if wanted and candidate else 0
    if attempt and status.phase is Phase.RAMPING:
        return {"weight": weight, "step": f"{attempt.step + 1}/{len(attempt.plan.steps)}"}
    return {"weight": weight, "step": "shadow" if status.phase is Phase.SHADOWING else ""}


def _finishes(signal: Signal) -> bool:
    """Tell a retreat of our own, which a crash had cut short between the route and the status, from a hand."""
    return signal.kind is SignalKind.REVERT and signal.reason != traffic.BY_HAND


def _event(signal: Signal) -> tuple[str, bool]:
    """Return the event's reason and whether it is Normal; the end of our own retreat is told as the retreat."""
    if signal.kind is SignalKind.DRILLED:
        return signal.reason, signal.reason == drill.REHEARSED
    if not _finishes(signal):
        return EVENTS[signal.kind]
    return EVENTS[SignalKind.ABORT if signal.reason == "Aborted" else SignalKind.BREACH]


def _decided(turn: Turn, signal: Signal, after: Status) -> Decided | None:
    if signal.kind not in EVENTS or after.phase is turn.status.phase is Phase.RELEASED:
        return None
    tried = after.attempt.version if after.attempt else turn.spec.version
    version = tried if _finishes(signal) else signal.target or tried
    return Decided(_event(signal)[0], version, _sentence(signal, after))


def _sentence(signal: Signal, after: Status) -> str:
    if signal.kind is SignalKind.RAMP and after.attempt:
        step = after.attempt.plan.steps[after.attempt.step]
        count = f"step {after.attempt.step + 1} of {len(after.attempt.plan.steps)}"
        return f"{count}: {step.weight} % to version {after.attempt.version}"
    if _event(signal)[0] == "RolledBack" and after.stable:
        left = f"from version {after.rejected[0].version} " if after.rejected else ""
        return f"all traffic {left}back to version {after.stable.version}: {signal.message}"
    return signal.message


def events(turn: Turn, signal: Signal, after: Status) -> tuple[Event, ...]:
    """Return what is worth an Event: nothing when nothing happened."""
    return (
        *_transition(turn, signal, after),
        *_overrides(turn, signal, after),
        *_raised(turn.status, after),
        *_cut_short(turn.status, after, signal),
        *_holds(turn.status, after),
        *_verdicts(turn.status, after),
        *_journal(turn.status, after),
        *_drift(turn.status, after),
        *_sunset(turn.status, after),
        *_repairs(turn, signal),
        *(Event(said.event, said.message, policy.EVENTS[said.event]) for said in policy.decided(turn, after)),
    )


def _transition(turn: Turn, signal: Signal, after: Status) -> Iterator[Event]:
    if signal.kind in EVENTS and after is not turn.status and after.history != turn.status.history:
        reason, normal = _event(signal)
        yield Event(reason, _sentence(signal, after) or signal.reason, normal)


def _overrides(turn: Turn, signal: Signal, after: Status) -> Iterator[Event]:
    """Tell each override that is used, whether the attempt goes on with it or not."""
    if signal.kind not in (SignalKind.ACCEPT, SignalKind.REFUSE) or after is turn.status:
        return
    known = turn.status.attempt.gates if turn.status.attempt else ()
    for result in after.attempt.gates if after.attempt else ():
        if result.overridden and result not in known:
            said = f"version {turn.spec.version}, gate {result.gate} is overridden {result.override} ({result.message})"
            yield Event("GateOverridden", said, normal=False)


def _raised(before: Status, after: Status) -> Iterator[Event]:
    """Tell what policies made stricter, once, in a sentence that ends."""
    raised = after.attempt.raised if after.attempt else ()
    if not raised or (before.attempt and before.attempt.raised == raised):
        return
    told = [f"{each.field} by {each.policy}: {each.message}" for each in raised[:TOLD_IN_AN_EVENT]]
    more = len(raised) - len(told)
    yield Event("FloorRaised", "; ".join(told) + (f"; and {more} more" if more else ""))


def _cut_short(before: Status, after: Status, signal: Signal) -> Iterator[Event]:
    ended = drill.cut_short(before, after)
    if ended and signal.kind is not SignalKind.DRILLED:
        yield Event(drill.FAILED, ended.message, normal=False)


def _holds(before: Status, after: Status) -> Iterator[Event]:
    if after.reason in NOTABLE_HOLDS and before.reason != after.reason:
        yield Event(after.reason, after.message, normal=after.reason in ("AwaitingApproval", "Paused"))


def _verdicts(before: Status, after: Status) -> Iterator[Event]:
    known = {state.name: state for state in before.guardrails}
    for state in after.guardrails:
        if _turned(known.get(state.name), state):
            reason, normal = VERDICT_EVENTS[state.verdict]
            yield Event(reason, f"guardrail {state.name}: {state.message or state.reason}", normal)


def _drift(before: Status, after: Status) -> Iterator[Event]:
    now, then = _claimed(after, PIN_DRIFT), _claimed(before, PIN_DRIFT)
    if now and now.status == "True" and not (then and then.message == now.message):
        yield Event(PIN_DRIFT, now.message, normal=False)


def _sunset(before: Status, after: Status) -> Iterator[Event]:
    """Say each stage once, and once more where the date was moved."""
    now, then = _claimed(after, sunset.SUNSET), _claimed(before, sunset.SUNSET)
    if now and (now.status == "True" or now.reason == sunset.UNREADABLE) and not (then and then.message == now.message):
        yield Event(now.reason, now.message, normal=False)


def _claimed(status: Status, kind: str) -> Condition | None:
    return next((found for found in status.conditions if found.type == kind), None)


def _journal(before: Status, after: Status) -> Iterator[Event]:
    """Say once that the story waits, or that an alias was left to its owner."""
    known, found = _claimed(before, conditions.AUDIT), _claimed(after, conditions.AUDIT)
    if found and found.reason != (known.reason if known else "") and found.message:
        yield Event("RecordsWait" if found.status == "False" else "AliasTaken", found.message, normal=False)


def _turned(before: GuardrailState | None, after: GuardrailState) -> bool:
    if before is None:
        return after.verdict is VerdictKind.FAIL
    return before.verdict is not after.verdict


def _repairs(turn: Turn, signal: Signal) -> Iterator[Event]:
    drift = traffic.detect_drift(turn.status, turn.seen.route)
    if signal.kind is not SignalKind.REVERT and drift.kind is traffic.DriftKind.REPAIR and drift.foreign:
        yield Event(
            "RouteRepaired", "the stored split was changed towards the candidate and is written again", normal=False
        )
