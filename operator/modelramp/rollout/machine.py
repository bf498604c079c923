"""Move the status: one table says where a signal leads, one function a signal says what is remembered.

Every change of a Status is in this file. A pair that is not in the table changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from modelramp.rollout import drill
from modelramp.rollout.floor import is_required
from modelramp.rollout.gates.spec import NO_GATES
from modelramp.rollout.gating import examine, held_to
from modelramp.rollout.observation import Value
from modelramp.rollout.settle import Settled
from modelramp.rollout.status import Attempt, AttemptKind, Drill, Phase, Pin, Rejection, Status
from modelramp.rollout.turn import ATTEMPTING, WITH_TRAFFIC, Signal, SignalKind, Turn, fallback

_P, _S = Phase, SignalKind
_BACK = {_S.RESTORE: _P.PROMOTED, _S.RETURN: _P.PROMOTED, _S.WARM_UP: _P.STARTING, _S.REVERT: _P.ROLLED_BACK}
_ALWAYS = {_S.RELEASE: _P.RELEASED, _S.REPIN: _P.GATING, **_BACK}
_PROTECTION = (_S.ABORT, _S.BREACH, _S.LOST, _S.INEFFECTIVE, _S.BLIND)
_GUARDED = dict.fromkeys(_PROTECTION, _P.ROLLED_BACK)


def _drills(phase: Phase) -> dict[SignalKind, Phase]:
    """Return what a drill leads to at rest: nowhere, but where stable is lost meanwhile."""
    return {**dict.fromkeys(drill.KINDS, phase), _S.LOST: _P.ROLLED_BACK}


TRANSITIONS: Mapping[Phase, Mapping[SignalKind, Phase]] = {
    _P.PENDING: _ALWAYS,
    _P.GATING: {
        **_ALWAYS, _S.BREACH: _P.ROLLED_BACK, _S.ABORT: _P.REJECTED, _S.REFUSE: _P.REJECTED, _S.ACCEPT: _P.STARTING,
        _S.DRILLED: _P.GATING,
    },
    _P.STARTING: {
        **_ALWAYS, _S.BREACH: _P.ROLLED_BACK, _S.ABORT: _P.REJECTED, _S.EXPIRE: _P.REJECTED,
        _S.REHEARSE: _P.STAGING, _S.SHADOW: _P.SHADOWING, _S.RAMP: _P.RAMPING, _S.FINISH: _P.PROMOTED,
        _S.DRILLED: _P.STARTING,
    },
    _P.STAGING: {
        **_ALWAYS, _S.BREACH: _P.ROLLED_BACK, _S.ABORT: _P.REJECTED, _S.EXPIRE: _P.REJECTED, _S.REFUSE: _P.REJECTED,
        _S.ACCEPT: _P.STAGING, _S.SHADOW: _P.SHADOWING, _S.RAMP: _P.RAMPING, _S.FINISH: _P.PROMOTED,
        _S.DRILLED: _P.STAGING,
    },
    _P.SHADOWING: {
        **_ALWAYS, **_GUARDED, _S.SETTLE: _P.SHADOWING, _S.RAMP: _P.RAMPING, _S.FINISH: _P.PROMOTED,
        _S.DRILLED: _P.SHADOWING,
    },
    _P.RAMPING: {
        **_ALWAYS, **_GUARDED, _S.SETTLE: _P.RAMPING, _S.RAMP: _P.RAMPING, _S.FINISH: _P.PROMOTED,
        _S.DRILLED: _P.RAMPING,
    },
    _P.PROMOTED: {
        _S.RELEASE: _P.RELEASED, _S.REPIN: _P.GATING, _S.RETURN: _P.PROMOTED, _S.WARM_UP: _P.STARTING,
        _S.REVERT: _P.ROLLED_BACK, _S.ABORT: _P.ROLLED_BACK, _S.BREACH: _P.ROLLED_BACK, _S.RECALL: _P.REJECTED,
        **_drills(_P.PROMOTED),
    },
    _P.ROLLED_BACK: {**_ALWAYS, **_drills(_P.ROLLED_BACK)},
    _P.REJECTED: {**_ALWAYS, _S.BREACH: _P.ROLLED_BACK, **_drills(_P.REJECTED)},
    _P.RELEASED: _ALWAYS,
}  # fmt: skip

REMEMBERED_STABLES = 10
REMEMBERED_REJECTIONS = 10


def sound(status: Status) -> Status:
    """Return the status, from Pending on where an attempt that is under way lacks what it needs to be judged."""
    attempt = status.attempt
    if attempt is None or status.phase not in ATTEMPTING:
        return status
    has_stable = status.stable is not None or attempt.kind is AttemptKind.FIRST
    has_candidate = status.candidate is not None or status.phase is Phase.GATING
    has_step = 0 <= attempt.step < max(1, len(attempt.plan.steps))
    return status if has_stable and has_candidate and has_step else replace(status, phase=Phase.PENDING)


def advance(turn: Turn, signal: Signal) -> Status:
    """Return the status after the signal; the same one where the table has no way."""
    to = TRANSITIONS[turn.status.phase].get(signal.kind)
    if to is None:
        return turn.status
    after = replace(_EFFECTS[signal.kind](turn, signal), phase=to)
    if signal.kind in drill.KINDS:
        return after
    return drill.end(after, turn.seen.now, drill.FAILED, f"cut short by {signal.reason}")


def _begin(turn: Turn, kind: AttemptKind, version: str) -> Attempt:
    now, spec = turn.seen.now, turn.spec
    seed = f"{version} {spec.fingerprint} {now.isoformat()}"
    identity = f"{version}-{sha256(seed.encode()).hexdigest()[:6]}"
    # What has traffic without being pinned has passed the gates of its own time.
    plan = spec.plan if version == spec.version else replace(spec.plan, gates=NO_GATES)
    return Attempt(identity, version, kind, spec.fingerprint, plan, started_at=now, phase_since=now)


def _repin(turn: Turn, signal: Signal) -> Status:
    kind = AttemptKind.FIRST if turn.status.stable is None else AttemptKind.FRESH
    return replace(turn.status, attempt=_begin(turn, kind, signal.target), candidate=None)


def _warm_up(turn: Turn, signal: Signal) -> Status:
    pin = turn.status.was_stable(signal.target)
    return replace(turn.status, attempt=_begin(turn, AttemptKind.RETURN, signal.target), candidate=pin)


def _accept(turn: Turn, signal: Signal) -> Status:
    judged = _judged(turn)
    return replace(judged, candidate=_pin(turn)) if turn.status.phase is Phase.GATING else judged


def _pin(turn: Turn) -> Pin | None:
    if not isinstance(turn.seen.model, Value):
        return None
    model = turn.seen.model.value
    return Pin(model.version, model.run_id, model.source, model.digest, model.created)


def _judged(turn: Turn) -> Status:
    """Write down the gates' evidence and what the attempt is held to from here on, whatever becomes of the policies."""
    attempt = _with(turn.status.attempt, gates=examine(turn))
    settled = held_to(turn, attempt) if attempt and turn.status.phase is Phase.GATING else None
    if isinstance(settled, Settled):
        attempt = _with(attempt, plan=settled.plan, policies=settled.policies, raised=settled.raised)
    return _stage(replace(turn.status, attempt=attempt), turn.seen.now)


def _with(attempt: Attempt | None, **changes: object) -> Attempt | None:
    return attempt and replace(attempt, **changes)  # type: ignore[arg-type]


def _stage(status: Status, now: datetime, step: int = 0) -> Status:
    return replace(status, attempt=_with(status.attempt, phase_since=now, step=step, settled_at=None))


def _rehearse(turn: Turn, signal: Signal) -> Status:
    return _stage(turn.status, turn.seen.now)


def _shadow(turn: Turn, signal: Signal) -> Status:
    return _stage(replace(turn.status, guardrails=()), turn.seen.now)


def _ramp(turn: Turn, signal: Signal) -> Status:
    attempt = turn.status.attempt
    if attempt and turn.status.phase is Phase.RAMPING:
        return _stage(turn.status, turn.seen.now, attempt.step + 1)
    first_traffic = turn.status.phase in (Phase.STARTING, Phase.STAGING)
    return _stage(replace(turn.status, guardrails=()) if first_traffic else turn.status, turn.seen.now)


def _settle(turn: Turn, signal: Signal) -> Status:
    """Start the step's clock, once, and its count of requests, again where the counters have fallen."""
    attempt, effect = turn.status.attempt, turn.seen.effect
    since = (attempt and attempt.settled_at) or turn.seen.now
    counted = effect.value.requests.get(attempt.version, 0) if attempt and isinstance(effect, Value) else 0
    return replace(turn.status, attempt=_with(attempt, settled_at=since, counted_from=counted))


def _finish(turn: Turn, signal: Signal) -> Status:
    attempt, status = turn.status.attempt, turn.status
    if attempt and attempt.kind is not AttemptKind.RETURN:
        status = replace(status, required=tuple(rail for rail in attempt.plan.guardrails if is_required(rail)))
    return _install(status, turn.status.candidate)


def _return(turn: Turn, signal: Signal) -> Status:
    status = replace(turn.status, attempt=_begin(turn, AttemptKind.RETURN, signal.target))
    return _install(status, turn.status.was_stable(signal.target))


def _install(status: Status, pin: Pin | None) -> Status:
    """Make a version stable; the one before it stays warm."""
    if pin is None:
        return status
    before = (status.stable,) if status.stable else ()
    previous = tuple(known for known in (*before, *status.previous) if known.version != pin.version)
    rejected = tuple(known for known in status.rejected if known.version != pin.version)
    return replace(
        status, stable=pin, candidate=None, previous=previous[:REMEMBERED_STABLES], rejected=rejected, guardrails=()
    )


def _restore(turn: Turn, signal: Signal) -> Status:
    return replace(turn.status, candidate=None, attempt=None, guardrails=())


def _refuse(turn: Turn, signal: Signal) -> Status:
    return _drop(replace(_judged(turn), candidate=None), turn, signal)


def _drop(status: Status, turn: Turn, signal: Signal) -> Status:
    """Take the candidate out and remember that its pin is not to be tried again."""
    attempt = turn.status.attempt
    if attempt is None or turn.status.phase not in ATTEMPTING:
        return status
    return replace(_reject(status, attempt.version, _refused(turn, attempt, signal), turn, signal), candidate=None)


def _refused(turn: Turn, attempt: Attempt, signal: Signal) -> str:
    """Return the fingerprint that is not tried again: the present one, for an edit in mid-ramp asks for no new try.

    Where a gate or the pods ended the attempt it is the attempt's own: the edit may be what mends them.
    """
    edited = attempt.version == turn.spec.version and signal.kind not in (_S.REFUSE, _S.EXPIRE)
    return (turn.spec.fingerprint if edited else "") or attempt.fingerprint


def _reject(status: Status, version: str, fingerprint: str, turn: Turn, signal: Signal) -> Status:
    rejection = Rejection(version, fingerprint, signal.reason, signal.message, turn.seen.now)
    others = tuple(known for known in status.rejected if (known.version, known.fingerprint) != (version, fingerprint))
    return replace(status, rejected=(rejection, *others)[:REMEMBERED_REJECTIONS])


def _fall_back(turn: Turn, signal: Signal) -> Status:
    """Send traffic back: from the candidate to stable, or from stable to the version before it."""
    status, phase = _drop(turn.status, turn, signal), turn.status.phase
    about_stable = phase is Phase.PROMOTED or (signal.kind in (_S.BREACH, _S.LOST) and phase not in WITH_TRAFFIC)
    return _demote(status, pin.version, turn, signal) if about_stable and (pin := fallback(turn)) else status


def _revert(turn: Turn, signal: Signal) -> Status:
    status = _drop(turn.status, turn, signal)
    if turn.status.stable is None or signal.target == turn.status.stable.version:
        return status
    return _demote(status, signal.target, turn, signal)


def _demote(status: Status, to: str, turn: Turn, signal: Signal) -> Status:
    """Give stable's place to a version that had it before; what it held is not tried again by itself."""
    demoted, pin = status.stable, status.was_stable(to)
    if demoted is None or pin is None:
        return status
    previous = tuple(known for known in status.previous if known.version != to)
    rejected = tuple(known for known in status.rejected if known.version != to)
    return _reject(
        replace(status, stable=pin, previous=previous, rejected=rejected, guardrails=()),
        demoted.version,
        turn.spec.fingerprint,
        turn,
        signal,
    )


def _recall(turn: Turn, signal: Signal) -> Status:
    return turn.status


def _drill(turn: Turn, signal: Signal) -> Status:
    return replace(turn.status, drill=Drill(turn.spec.drill, signal.target, turn.seen.now))


def _bring_back(turn: Turn, signal: Signal) -> Status:
    known = turn.status.drill
    return replace(turn.status, drill=known and replace(known, away_at=turn.seen.now))


def _drilled(turn: Turn, signal: Signal) -> Status:
    """End the drill; one that is refused has ended when it begins."""
    status = _drill(turn, signal) if signal.reason == drill.REFUSED else turn.status
    return drill.end(status, turn.seen.now, signal.reason, signal.message)


def _release(turn: Turn, signal: Signal) -> Status:
    return replace(turn.status, candidate=None)


_EFFECTS: Mapping[SignalKind, Callable[[Turn, Signal], Status]] = {
    _S.RELEASE: _release,
    _S.REPIN: _repin,
    _S.WARM_UP: _warm_up,
    _S.RETURN: _return,
    _S.RESTORE: _restore,
    _S.RECALL: _recall,
    _S.REVERT: _revert,
    _S.ABORT: _fall_back,
    _S.BREACH: _fall_back,
    _S.LOST: _fall_back,
    _S.INEFFECTIVE: _fall_back,
    _S.BLIND: _fall_back,
    _S.EXPIRE: _fall_back,
    _S.REFUSE: _refuse,
    _S.ACCEPT: _accept,
    _S.REHEARSE: _rehearse,
    _S.SHADOW: _shadow,
    _S.RAMP: _ramp,
    _S.SETTLE: _settle,
    _S.FINISH: _finish,
    _S.DRILL: _drill,
    _S.BRING_BACK: _bring_back,
    _S.DRILLED: _drilled,
}
