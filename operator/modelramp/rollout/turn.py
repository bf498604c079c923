"""What one turn is judged on, and the one signal that it comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from modelramp.rollout.floor import is_required
from modelramp.rollout.guardrails import Evidence
from modelramp.rollout.observation import Observation, Value
from modelramp.rollout.spec import Guardrail, Spec
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Pin, Status


class SignalKind(Enum):
    """What can happen; the columns of the transition table."""

    RELEASE = "Release"
    """The object is being deleted."""
    REVERT = "Revert"
    """Somebody sent traffic back to an older version at the route itself."""
    ABORT = "Abort"
    """The user stops the attempt."""
    RESTORE = "Restore"
    """The pin is back on the version that is stable."""
    RETURN = "Return"
    """The pin is on a version that was stable, and its pods are ready."""
    WARM_UP = "WarmUp"
    """The pin is on a version that was stable, and its pods have to come first."""
    REPIN = "Repin"
    """A pin that has to prove itself."""
    RECALL = "Recall"
    """The pin is on a version that has failed before, or that is aborted: it is not tried again."""
    BREACH = "Breach"
    """A guardrail failed as often as its limit says."""
    LOST = "Lost"
    """The candidate has traffic and no ready pod."""
    INEFFECTIVE = "Ineffective"
    """The proxies did not take up the split by the deadline."""
    BLIND = "Blind"
    """A guardrail that must answer was silent past its deadline."""
    SETTLE = "Settle"
    """The split was seen in effect: the clock starts."""
    PAUSE = "Pause"
    """The user stops progress."""
    REFUSE = "Refuse"
    """A gate failed."""
    REHEARSE = "Rehearse"
    """The candidate's pods are ready, and have to answer requests that nobody waits for."""
    EXPIRE = "Expire"
    """The candidate's pods were not ready by the deadline."""
    ACCEPT = "Accept"
    """All gates passed."""
    SHADOW = "Shadow"
    """Start copying traffic to the candidate."""
    RAMP = "Ramp"
    """Go up one step."""
    FINISH = "Finish"
    """The candidate becomes stable."""
    DRILL = "Drill"
    """A rollback is rehearsed: all traffic goes to the version to fall back to."""
    BRING_BACK = "BringBack"
    """The drill's traffic was seen there, and goes back to stable."""
    DRILLED = "Drilled"
    """A drill has ended, or was refused."""
    HOLD = "Hold"
    """Nothing to do but wait; the reason says for what."""


@dataclass(frozen=True, slots=True)
class Signal:
    """The turn's signal with its documented reason and a sentence for people; `target` is a version."""

    kind: SignalKind
    reason: str
    message: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """All that a turn is judged on."""

    spec: Spec
    status: Status
    seen: Observation
    evidence: Evidence


RETREATS = frozenset(
    {
        SignalKind.ABORT,
        SignalKind.BREACH,
        SignalKind.LOST,
        SignalKind.INEFFECTIVE,
        SignalKind.BLIND,
        SignalKind.RESTORE,
        SignalKind.RETURN,
        SignalKind.REVERT,
        SignalKind.REPIN,
    }
)
"""The signals after which the version that serves is one that has served before."""

UNREADABLE = "InvalidSpec"
"""The reason of a turn that only protects: what the user wrote last cannot be used."""
ATTEMPTING = (Phase.GATING, Phase.STARTING, Phase.STAGING, Phase.SHADOWING, Phase.RAMPING)
WITH_TRAFFIC = (Phase.SHADOWING, Phase.RAMPING)
WATCHING_STABLE = (Phase.GATING, Phase.STARTING, Phase.STAGING, Phase.PROMOTED, Phase.REJECTED)


def watched(spec: Spec, status: Status) -> tuple[Guardrail, ...]:
    """Return the guardrails that are asked now: an attempt's own copy for the candidate, else the spec's for stable,
    with those that policies asked for when it was tried.

    After a rollback nothing is asked until the next attempt: a fault that every version shares must not send
    traffic further and further back.
    """
    if status.phase in WITH_TRAFFIC and status.attempt:
        rails = status.attempt.plan.guardrails
        return rails if status.phase is Phase.SHADOWING else _without_copies(rails)
    if status.phase not in WATCHING_STABLE or status.stable is None:
        return ()
    return _without_copies((*(rail for rail in spec.plan.guardrails if not is_required(rail)), *status.required))


def _without_copies(rails: Iterable[Guardrail]) -> tuple[Guardrail, ...]:
    return tuple(rail for rail in rails if not rail.of_copies)


def subject(status: Status) -> Pin | None:
    """Return the version that the guardrails are about: the candidate while it has traffic, else stable."""
    return status.candidate if status.phase in WITH_TRAFFIC else status.stable


def known_unready(seen: Observation, version: str) -> bool:
    """Tell whether a version is known to have no ready pod; where the pods could not be read it is not known."""
    if not isinstance(seen.workloads, Value):
        return False
    workload = seen.workloads.value.get(version)
    return workload is None or workload.ready == 0


def waited(turn: Turn, attempt: Attempt) -> timedelta:
    """Return for how long the phase has gone on before our eyes: time without an operator is nobody's delay."""
    return turn.seen.now - max(attempt.phase_since, turn.evidence.since or attempt.phase_since)


def fallback(turn: Turn) -> Pin | None:
    """Return the version to go back to after promotion: the newest warm one that is not known to be down."""
    warm = turn.status.previous[: turn.spec.serving.keep_warm]
    return next((pin for pin in warm if not known_unready(turn.seen, pin.version) and _is_back(turn.status, pin)), None)


def _is_back(status: Status, pin: Pin) -> bool:
    """Tell whether going to a version is going back: not to one from which the user went back to stable.

    Where stable did not get here by an attempt of its own, the registry's numbers tell which came before.
    """
    attempt, stable = status.attempt, status.stable
    if stable is None or (attempt and attempt.version == stable.version and attempt.kind is not AttemptKind.RETURN):
        return True
    return int(pin.version) < int(stable.version)
