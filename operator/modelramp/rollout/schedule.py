"""When to look again: the nearest moment at which time alone can change the decision.

Guardrails are not timed here: they are asked on their own clocks, and an answer wakes the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from modelramp.rollout import policy, progress, staging, sunset
from modelramp.rollout.actions import Action, Post, RunVersion
from modelramp.rollout.gating import held_to
from modelramp.rollout.observation import Busy, Failed, NoData, Posted, Reading, Value
from modelramp.rollout.settle import Unsettled
from modelramp.rollout.status import Attempt, Phase
from modelramp.rollout.traffic import converged, desired, leaving
from modelramp.rollout.turn import WITH_TRAFFIC, SignalKind, Turn

SOON = timedelta(milliseconds=250)
PODS_COME = timedelta(seconds=5)
"""Pods that are on their way wake the loop by themselves; this is for those that never come."""
OVERDUE = timedelta(seconds=5)
"""For a deadline that has passed and ends nothing: progress is paused, or the pods' state is not known."""
VERSION_LEAVES = timedelta(seconds=5)
"""Until the last request to a version that went is answered; then its pods go."""
REGISTRY_BUSY = timedelta(seconds=1)
REGISTRY_AWAY = timedelta(seconds=5)
JOURNAL_ASKED = timedelta(seconds=5)
"""Records that were written wake the loop by themselves."""
JOURNAL_AWAY = timedelta(seconds=15)
FLOORS_AWAY = timedelta(seconds=5)
REHEARSAL_ASKED = timedelta(seconds=5)
"""A Job that gets no pods wakes nobody."""
VERSION_MISSING = timedelta(seconds=15)
ROUTER_ASKED = timedelta(seconds=1)
ROUTER_TELLS = frozenset({"WaitingForRequests", "WaitingForEffect", "TooFewRequests"})
"""What only the routers' own counters can end; answers of guardrails and people's edits wake the loop by themselves."""
ROUTER_AWAY = timedelta(seconds=30)
"""For an object at rest whose routers do not answer; with traffic under way it is asked again SOON."""


def look_again(turn: Turn, actions: tuple[Action, ...]) -> timedelta | None:
    """Return how long until the next look, None when only an event can change anything."""
    nearest = min(_moments(turn, actions), default=None)
    return None if nearest is None else max(nearest, timedelta(0))


def _moments(turn: Turn, actions: tuple[Action, ...]) -> Iterator[timedelta]:
    yield from policy.moments(turn)
    yield from sunset.moments(turn.status, turn.seen)
    if moves := [action for action in actions if not isinstance(action, Post)]:
        yield PODS_COME if all(isinstance(action, RunVersion) for action in moves) else SOON
    if turn.status.outbox:
        yield JOURNAL_ASKED if _is_taking(turn.seen.journal) else JOURNAL_AWAY
    if turn.status.drill is not None and turn.status.drill.is_running:
        yield SOON
    attempt = turn.status.attempt
    if turn.status.phase in (Phase.STARTING, Phase.STAGING, *WITH_TRAFFIC) and _goes_on(turn):
        yield SOON
    match turn.status.phase:
        case Phase.GATING if not (turn.spec.problem or turn.spec.paused):
            yield _registry(turn)
        case Phase.STARTING | Phase.STAGING if attempt:
            yield from _pods(turn, attempt)
        case Phase.SHADOWING | Phase.RAMPING if attempt:
            yield from _stage(turn, attempt)
        case _:
            yield from _rest(turn)


def _is_taking(journal: Reading[Posted] | Busy | None) -> bool:
    refused = isinstance(journal, Value) and journal.value.refused is not None
    return not refused and not isinstance(journal, Failed)


def _pods(turn: Turn, attempt: Attempt) -> Iterator[timedelta]:
    left = attempt.phase_since + _patience(turn.status.phase, attempt) - turn.seen.now
    yield left if left > timedelta(0) else OVERDUE
    if turn.status.reason == staging.REHEARSING:
        yield REHEARSAL_ASKED
    if turn.status.reason in ROUTER_TELLS:
        yield ROUTER_ASKED
    if isinstance(turn.seen.route, Failed):
        yield ROUTER_AWAY


def _patience(phase: Phase, attempt: Attempt) -> timedelta:
    """Return the deadline of what the phase waits for."""
    rehearses = phase is Phase.STAGING and not staging.is_judged(attempt)
    return staging.deadline(attempt) if rehearses else attempt.plan.ready_deadline


def _goes_on(turn: Turn) -> bool:
    """Tell whether nothing is waited for any more, so that nothing else may come to wake the loop."""
    held = turn.spec.paused or bool(turn.spec.problem)
    return not held and progress.judge(turn).kind is not SignalKind.HOLD


def _registry(turn: Turn) -> timedelta:
    match turn.seen.model, turn.seen.stable_model:
        case (Failed(), _) | (_, Failed()):
            return REGISTRY_AWAY
        case (NoData(), _) | (_, NoData()):
            return VERSION_MISSING
        case (Busy(), _) | (_, Busy()):
            return REGISTRY_BUSY
        case (Value(), _) if _unsettled(turn):
            return FLOORS_AWAY
        case _:
            return SOON


def _unsettled(turn: Turn) -> bool:
    attempt = turn.status.attempt
    return attempt is not None and isinstance(held_to(turn, attempt), Unsettled)


def _stage(turn: Turn, attempt: Attempt) -> Iterator[timedelta]:
    if attempt.settled_at is None:
        yield SOON
        return
    shadow = attempt.plan.shadow
    hold = shadow.duration if turn.status.phase is Phase.SHADOWING and shadow else attempt.plan.steps[attempt.step].hold
    left = attempt.settled_at + hold - turn.seen.now
    if left > timedelta(0):
        yield left
    elif turn.status.reason in ROUTER_TELLS:
        yield ROUTER_ASKED


def _rest(turn: Turn) -> Iterator[timedelta]:
    warm, seen = turn.spec.serving.keep_warm, turn.seen
    held = bool(turn.spec.problem) or seen.deleting
    if not held and leaving(turn.status, warm, seen.route, seen.workloads):
        yield VERSION_LEAVES
    if desired(turn.status) is None or converged(turn.status, turn.seen):
        return
    if isinstance(turn.seen.effect, Value) and turn.seen.effect.value.in_effect is not None:
        yield SOON
    elif any(
        condition.type == "TrafficConverged" and condition.status != "True" for condition in turn.status.conditions
    ):
        yield ROUTER_AWAY
