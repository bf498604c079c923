"""Decide one turn: from what is wanted, remembered and seen to what is remembered, done and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from modelramp.rollout import approval, machine, narrate, policy, schedule, signals, staging, traffic
from modelramp.rollout.actions import Action, Event, KeepRules, Post, Release, SetTraffic, TellPods
from modelramp.rollout.guardrails import Evidence, Scope, gather, remembered, restore
from modelramp.rollout.observation import Busy, NoData, Observation, Value
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Phase, Status
from modelramp.rollout.turn import RETREATS, WITH_TRAFFIC, Signal, SignalKind, Turn, watched

RELEASE_DEADLINE = timedelta(seconds=30)
"""How long a deletion waits for the route; then the object goes all the same."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one turn comes to. `look_again_in` is None when only an event can change anything."""

    signal: Signal
    status: Status
    evidence: Evidence
    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    look_again_in: timedelta | None

    @property
    def retreats(self) -> bool:
        """Tell whether traffic is being taken away: then it is written whatever becomes of the status."""
        return any(isinstance(action, SetTraffic) and action.retreat for action in self.actions)


def decide(spec: Spec, status: Status, seen: Observation, evidence: Evidence | None, *, claimed: bool) -> Decision:
    """Decide one turn; `evidence` is None after a restart. Total: never raises, never asks anyone anything."""
    guardrails = watched(spec, status)
    known = restore(status.guardrails, scope(status), seen.now) if evidence is None else evidence
    gathered = gather(guardrails, known, seen.measurements, scope(status))
    measured = replace(status, guardrails=remembered(guardrails, status.guardrails, gathered)) if guardrails else status
    turn = Turn(spec, measured, seen, gathered)
    signal = signals.classify(turn)
    moved = approval.remember(measured, machine.advance(turn, signal))
    after = narrate.tell(turn, signal, policy.follow(turn, moved))
    actions = (*_actions(turn, signal, after, claimed=claimed), *_post(turn, after))
    told = narrate.events(replace(turn, status=status), signal, after)
    return Decision(signal, after, gathered, actions, told, schedule.look_again(replace(turn, status=after), actions))


def scope(status: Status) -> Scope:
    """Return what verdicts count for while this status stands."""
    attempt = status.attempt
    if attempt is None or status.phase not in WITH_TRAFFIC:
        return Scope(f"stable {status.stable.version if status.stable else ''}")
    return Scope(attempt.id, f"{status.phase.value} {attempt.step}", attempt.settled_at)


def _actions(turn: Turn, signal: Signal, after: Status, *, claimed: bool) -> tuple[Action, ...]:
    if signal.kind is not SignalKind.RELEASE and after.phase is not Phase.RELEASED:
        warm, retreats = turn.spec.serving.keep_warm, signal.kind in RETREATS
        why = f"{after.reason}: {after.message}" if after.phase is Phase.ROLLED_BACK else after.reason
        moves = traffic.converge(after, warm, turn.seen, claimed=claimed, why=why, retreats=retreats)
        actions = (*moves, *staging.converge(after, warm, turn.seen))
        if turn.spec.problem:
            return tuple(action for action in actions if _protects(action, turn.seen))
        return (*actions, *_told(turn))
    return _release(turn, after, claimed=claimed)


def _told(turn: Turn) -> Iterator[Action]:
    if turn.spec.policy and isinstance(turn.seen.rules, Value):
        rules = turn.seen.rules.value
        if rules.untold:
            yield TellPods(rules.hash)
        if rules.unkept:
            yield KeepRules(rules.hash)


def _post(turn: Turn, after: Status) -> tuple[Post, ...]:
    """Hand over what the registry lacks, last of all: no traffic and no pod waits for it.

    An object that is going hands it over even while something is being written: there may be no other turn.
    """
    if not after.outbox or (isinstance(turn.seen.journal, Busy) and not turn.seen.deleting):
        return ()
    stable, candidate = (pin.version if pin else "" for pin in (after.stable, after.candidate))
    return (Post(after.outbox, stable, candidate),)


def _protects(action: Action, seen: Observation) -> bool:
    """Tell what may be done on the strength of the status alone, where the spec cannot be used."""
    return isinstance(action, SetTraffic) and (action.retreat or _moves(action, seen))


def _release(turn: Turn, after: Status, *, claimed: bool) -> tuple[Action, ...]:
    """Put all traffic on stable, then let go; past the deadline let go whatever the route says."""
    if not claimed:
        return ()
    routed = tuple(
        action
        for action in traffic.converge(after, 0, turn.seen, claimed=True, why="Deleted")
        if isinstance(action, SetTraffic) and _moves(action, turn.seen)
    )
    since = turn.seen.deleting_since
    late = since is not None and turn.seen.now - since >= RELEASE_DEADLINE
    return (*routed, Release()) if late or not routed else routed


def _moves(action: SetTraffic, seen: Observation) -> bool:
    """Tell whether the write would move traffic; a route that is gone needs no last write."""
    return not isinstance(seen.route, NoData) and traffic.differs(action.split, seen.route)
