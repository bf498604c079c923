"""The gates between the candidate's readiness and its first traffic: how it answers, and who could take over.

The requests are replayed by a rehearsal in the cluster, one an attempt; here is said when, and what its result means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from modelramp.rollout.actions import Action, RunRehearsal, StopRehearsal
from modelramp.rollout.durations import text
from modelramp.rollout.gates.spec import StagingGate
from modelramp.rollout.observation import Busy, Failed, Observation, Rehearsal, Replay, Value
from modelramp.rollout.status import Attempt, AttemptKind, GateResult, Phase, Pin, Status
from modelramp.rollout.turn import Turn, known_unready, waited

STAGING, ROLLBACK = "staging", "rollback"
REHEARSING = "Rehearsing"
FALLBACK_DEADLINE = timedelta(minutes=10)
"""For the one answer of the version to fall back to, where nothing else is asked."""
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Waits:
    """Nothing to judge yet."""

    reason: str
    message: str


def is_wanted(attempt: Attempt) -> bool:
    """Tell whether the attempt has gates that are judged once its pods are ready; a way back never has."""
    gates = attempt.plan.gates
    asks = gates.staging is not None or (gates.rollback is not None and gates.rollback.required)
    return asks and attempt.kind is not AttemptKind.RETURN


def is_judged(attempt: Attempt) -> bool:
    """Tell whether their results are remembered."""
    return any(result.gate.partition(":")[0] in (STAGING, ROLLBACK) for result in attempt.gates)


def deadline(attempt: Attempt) -> timedelta:
    """Return for how long the results may take."""
    gate = attempt.plan.gates.staging
    return gate.deadline if gate else FALLBACK_DEADLINE


def judge(turn: Turn, attempt: Attempt) -> tuple[GateResult, ...] | Waits:
    """Judge the rehearsal's result; without one by the deadline the gate has failed."""
    found = _result(turn, attempt)
    if not isinstance(found, Waits):
        return (*_staging(attempt, found), *_rollback(turn, attempt, found))
    if waited(turn, attempt) < deadline(attempt):
        return found
    gate = STAGING if attempt.plan.gates.staging else ROLLBACK
    return (GateResult(gate, False, "NoResult", f"no result within {text(deadline(attempt))}: {found.message}"),)


def converge(status: Status, keep_warm: int, seen: Observation) -> tuple[Action, ...]:
    """Return what is missing between the rehearsal that the status asks for and those that are there."""
    if not isinstance(seen.rehearsals, Value):
        return ()
    known = {attempt for attempt, found in seen.rehearsals.value.items() if not isinstance(found, Failed)}
    wanted = _wanted(status)
    stops = tuple(StopRehearsal(each) for each in sorted(known) if wanted is None or each != wanted.attempt)
    if wanted is None or wanted.attempt in known or not _may_begin(status, keep_warm, seen):
        return stops
    return (*stops, wanted)


def _wanted(status: Status) -> RunRehearsal | None:
    """Return the rehearsal whose result is still to be judged."""
    attempt, candidate = status.attempt, status.candidate
    if status.phase is not Phase.STAGING or attempt is None or candidate is None or is_judged(attempt):
        return None
    return RunRehearsal(
        attempt.id, candidate, attempt.plan.gates.staging, _fallback(status, attempt), deadline(attempt)
    )


def _may_begin(status: Status, keep_warm: int, seen: Observation) -> bool:
    attempt = status.attempt
    if attempt is None or _needs_none(status, attempt, keep_warm):
        return False
    return _waits_for_fallback(status, attempt, seen) is None


def _fallback(status: Status, attempt: Attempt) -> Pin | None:
    """Return the version that has to answer; the first version of all has none to fall back to."""
    gate = attempt.plan.gates.rollback
    return status.stable if gate and gate.required and attempt.kind is not AttemptKind.FIRST else None


def _needs_none(status: Status, attempt: Attempt, keep_warm: int) -> bool:
    """Tell whether all can be judged without asking any pod."""
    asks_nobody = attempt.plan.gates.staging is None and _fallback(status, attempt) is None
    return asks_nobody or _is_cold(status, attempt, keep_warm)


def _is_cold(status: Status, attempt: Attempt, keep_warm: int) -> bool:
    return _fallback(status, attempt) is not None and keep_warm == 0


def _waits_for_fallback(status: Status, attempt: Attempt, seen: Observation) -> Waits | None:
    pin = _fallback(status, attempt)
    if pin is None:
        return None
    if not isinstance(seen.workloads, Value):
        return Waits("WaitingForFallback", f"the state of version {pin.version}'s pods is not known")
    if known_unready(seen, pin.version):
        return Waits("WaitingForFallback", f"waiting until version {pin.version}, to fall back to, has a ready pod")
    return None


def _result(turn: Turn, attempt: Attempt) -> Rehearsal | Waits:
    if _needs_none(turn.status, attempt, turn.spec.serving.keep_warm):
        return Rehearsal()
    if waits := _waits_for_fallback(turn.status, attempt, turn.seen):
        return waits
    if not isinstance(turn.seen.rehearsals, Value):
        return Waits(REHEARSING, f"the rehearsal's state is not known: {turn.seen.rehearsals.reason}")
    match turn.seen.rehearsals.value.get(attempt.id):
        case Rehearsal() as found:
            return found
        case Busy(message) | Failed(_, message) if message:
            return Waits(REHEARSING, f"{_doing(turn.status, attempt)}: {message}")
        case _:
            return Waits(REHEARSING, _doing(turn.status, attempt))


def _doing(status: Status, attempt: Attempt) -> str:
    gate, fallback = attempt.plan.gates.staging, _fallback(status, attempt)
    parts = [f"{gate.requests} requests to version {attempt.version}"] if gate else []
    parts += [f"one to version {fallback.version}"] if fallback else []
    return f"replaying {' and '.join(parts)}"


def _staging(attempt: Attempt, found: Rehearsal) -> Iterator[GateResult]:
    gate = attempt.plan.gates.staging
    if gate is None:
        return
    if found.candidate is None:
        yield GateResult(STAGING, False, "NoResult", found.problem or "the candidate was not asked")
        return
    yield _errors(gate, found.candidate)
    for name, bound in (("p50", gate.p50), ("p95", gate.p95), ("p99", gate.p99)):
        if bound is not None:
            yield _latency(name, bound, found.candidate)
    if gate.memory is not None:
        yield _memory(gate.memory, found.candidate)


def _errors(gate: StagingGate, replay: Replay) -> GateResult:
    failed = gate.requests - replay.answered
    rate = failed / gate.requests
    passed = rate <= gate.error_rate
    said = f"{failed} of {gate.requests} requests without a prediction, errorRate {gate.error_rate:.6g}"
    why = "" if passed or not replay.complaint else f": {replay.complaint}"
    reason = "StagingAnswers" if passed else "StagingErrors"
    evidence = (f"{rate:.6g}", f"max {gate.error_rate:.6g}", f"{gate.requests} replayed requests")
    return GateResult(f"{STAGING}:errorRate", passed, reason, said + why, *evidence)


def _latency(name: str, bound: timedelta, replay: Replay) -> GateResult:
    seconds: float | None = getattr(replay, name)
    if seconds is None:
        return _unmeasured(name, replay.complaint or "no request was answered")
    passed = seconds <= bound.total_seconds()
    reason = "StagingFast" if passed else "StagingSlow"
    evidence = (f"{seconds * 1000:.4g} ms", f"max {text(bound)}", f"{replay.answered} replayed requests")
    said = f"{name} {evidence[0]} over {replay.answered} requests, {evidence[1]}"
    return GateResult(f"{STAGING}:{name}", passed, reason, said, *evidence)


def _memory(bound: int, replay: Replay) -> GateResult:
    if replay.memory is None:
        return _unmeasured("memory", "its server showed no process_resident_memory_bytes at /metrics")
    passed = replay.memory <= bound
    reason = "StagingFits" if passed else "StagingTooLarge"
    evidence = (f"{replay.memory / MEBIBYTE:.1f}Mi", f"max {bound / MEBIBYTE:.1f}Mi", "process_resident_memory_bytes")
    said = f"{evidence[0]} resident at most, {evidence[1]}"
    return GateResult(f"{STAGING}:memory", passed, reason, said, *evidence)


def _unmeasured(name: str, why: str) -> GateResult:
    return GateResult(f"{STAGING}:{name}", False, "StagingUnmeasured", f"{name} was not measured: {why}")


def _rollback(turn: Turn, attempt: Attempt, found: Rehearsal) -> Iterator[GateResult]:
    gate = attempt.plan.gates.rollback
    if gate is None or not gate.required:
        return
    pin = _fallback(turn.status, attempt)
    if pin is None:
        said = "nothing served before: there is no version to fall back to"
        yield GateResult(ROLLBACK, True, "NothingToFallBackTo", said)
    elif turn.spec.serving.keep_warm == 0:
        said = f"version {pin.version} would not stay warm after the promotion: serving.keepWarm is 0, min 1"
        yield GateResult(ROLLBACK, False, "FallbackNotWarm", said)
    else:
        yield _answer(pin, found)
    if pin is not None and gate.rehearsed_within is not None:
        yield _rehearsed(turn, gate.rehearsed_within)


def _rehearsed(turn: Turn, within: timedelta) -> GateResult:
    """Judge how old the newest drill is; without a version to go back to none could have been."""
    known, gate, bound = turn.status.rehearsed, f"{ROLLBACK}:rehearsed", f"within {text(within)}"
    if known is None or known.ended_at is None:
        if not turn.status.previous:
            said = "no version served before the present one: there was nothing to rehearse"
            return GateResult(gate, True, "NothingToRehearse", said, bound=bound)
        said = f"no rollback was rehearsed, {bound} is asked for: kubectl modelramp drill"
        return GateResult(gate, False, "NeverRehearsed", said, bound=bound)
    when, passed = f"{known.ended_at:%Y-%m-%dT%H:%M:%SZ}", turn.seen.now - known.ended_at <= within
    said = f"a rollback to version {known.version} was rehearsed at {when}, {bound} is asked for"
    return GateResult(gate, passed, "Rehearsed" if passed else "RehearsalTooOld", said, when, bound, "status.rehearsed")


def _answer(pin: Pin, found: Rehearsal) -> GateResult:
    if found.fallback is not None and found.fallback.answered:
        said = f"version {pin.version} is warm and answered a prediction"
        return GateResult(ROLLBACK, True, "FallbackAnswers", said, source=f"version {pin.version}")
    why = (found.fallback.complaint if found.fallback else found.problem) or "nothing came back"
    return GateResult(ROLLBACK, False, "FallbackSilent", f"version {pin.version} answered no prediction: {why}")
