"""Rehearse a rollback on the live traffic: all of it to the version to fall back to and, once seen there, back.

Only at rest. Whatever cuts it short, stable has the traffic again; where it is stable that fails meanwhile, the
version to fall back to keeps it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from modelramp.rollout.durations import text
from modelramp.rollout.observation import Value
from modelramp.rollout.status import Drill, Status
from modelramp.rollout.traffic import AT_REST, converged, desired, detect_drift, differs
from modelramp.rollout.turn import ATTEMPTING, Signal, SignalKind, Turn, fallback, known_unready

STARTED, REHEARSED, REFUSED, FAILED = "DrillStarted", "RollbackRehearsed", "DrillRefused", "DrillFailed"
KINDS = (SignalKind.DRILL, SignalKind.BRING_BACK, SignalKind.DRILLED)


def lose(turn: Turn) -> Signal | None:
    """Return that stable was lost in the middle of a drill: then it is no drill any more."""
    drill, stable = _running(turn.status), turn.status.stable
    if drill is None or stable is None or not known_unready(turn.seen, stable.version):
        return None
    if known_unready(turn.seen, drill.version):
        return None
    said = f"version {stable.version} had no ready pod left in the middle of a drill"
    return Signal(SignalKind.LOST, "StableLost", said)


def follow(turn: Turn) -> Signal | None:
    """Return how the running drill goes on or ends; None where there is none, or it waits for the routers."""
    drill = _running(turn.status)
    if drill is None:
        return None
    if fault := _fault(turn, drill):
        return Signal(SignalKind.DRILLED, FAILED, fault, drill.version)
    if not converged(turn.status, turn.seen):
        return None
    if drill.away_at is None:
        return Signal(SignalKind.BRING_BACK, "InEffect", f"version {drill.version} has all traffic", drill.version)
    ended = replace(drill, ended_at=turn.seen.now, reason=REHEARSED)
    return Signal(SignalKind.DRILLED, REHEARSED, tell(ended), drill.version)


def begin(turn: Turn) -> Signal | None:
    """Return the beginning of the drill that `spec.drill` asks for, or its refusal; each is asked for once."""
    asked, known = turn.spec.drill, turn.status.drill
    if not asked or (known is not None and known.asked == asked) or turn.status.stable is None:
        return None
    if turn.status.phase not in (*ATTEMPTING, *AT_REST):
        return None
    stable, pin = turn.status.stable.version, fallback(turn)
    if (refusal := _refusal(turn)) or pin is None:
        return Signal(SignalKind.DRILLED, REFUSED, refusal, stable)
    said = f"all traffic from version {stable} to version {pin.version}, and back"
    return Signal(SignalKind.DRILL, STARTED, said, pin.version)


def _refusal(turn: Turn) -> str:
    attempt = turn.status.attempt
    if turn.status.phase in ATTEMPTING and attempt is not None:
        return f"an attempt is running, with version {attempt.version}: ask again when it has ended"
    if turn.spec.paused:
        return "spec.paused is true"
    if not isinstance(turn.seen.workloads, Value):
        return f"the pods' state is unknown: {turn.seen.workloads.reason}"
    if fallback(turn) is None:
        warm = turn.spec.serving.keep_warm
        return f"no version to fall back to is warm and ready (serving.keepWarm is {warm})"
    wanted, conditions = desired(turn.status), turn.status.conditions
    moves = any(found.type == "TrafficConverged" and found.status == "False" for found in conditions)
    stored = wanted is not None and not differs(wanted, turn.seen.route)
    return "" if stored and not moves else "the present split is not in effect"


def _fault(turn: Turn, drill: Drill) -> str:
    """Return what cuts a drill short, "" for nothing."""
    since, deadline = drill.away_at or drill.started_at, turn.spec.plan.effect_deadline
    if turn.evidence.since is not None and turn.evidence.since > drill.started_at:
        return "the operator was restarted in the middle of it"
    if detect_drift(turn.status, turn.seen.route).foreign:
        return "somebody else wrote the route in the middle of it"
    if (pin := fallback(turn)) is None or pin.version != drill.version:
        return f"version {drill.version} is no longer warm and ready"
    if turn.seen.now - since >= deadline:
        where = drill.version if drill.away_at is None else turn.status.stable.version if turn.status.stable else ""
        return f"all traffic on version {where} was not seen in effect within {text(deadline)}"
    return ""


def _running(status: Status) -> Drill | None:
    return status.drill if status.drill is not None and status.drill.is_running else None


def end(status: Status, now: datetime, reason: str, message: str) -> Status:
    """Return the status without a running drill; one that passed is kept until the next that passes."""
    drill = _running(status)
    if drill is None:
        return status
    ended = replace(drill, ended_at=now, reason=reason, message=message)
    return replace(status, drill=ended, rehearsed=ended if reason == REHEARSED else status.rehearsed)


def cut_short(before: Status, after: Status) -> Drill | None:
    """Return the drill that something else has ended."""
    ended = _running(before) and after.drill
    return ended if ended and not ended.is_running and ended.reason == FAILED else None


def seconds(drill: Drill) -> tuple[float | None, float | None]:
    """Return for how long each way was under way until it was in effect, None where it was not seen to be."""
    away, ended, passed = drill.away_at, drill.ended_at, drill.reason == REHEARSED
    there = (away - drill.started_at).total_seconds() if away else None
    return there, (ended - away).total_seconds() if passed and away and ended else None


def tell(drill: Drill) -> str:
    """Return how long a drill that passed took."""
    there, back = seconds(drill)
    return f"version {drill.version} had all traffic after {there or 0:.1f} s, and gave it back after {back or 0:.1f} s"
