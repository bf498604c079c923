"""Name the one thing that matters this turn. The order of the chain is the safety policy.

release > back to a good version, a new pin > breach > blind > settled > pause > progress:
a pause stops progress, never protection.
"""

from __future__ import annotations

from collections.abc import Callable

from modelramp.rollout import drill, policy, progress, traffic
from modelramp.rollout.guardrails import blind, breached
from modelramp.rollout.observation import Value
from modelramp.rollout.status import Phase, Rejection
from modelramp.rollout.turn import (
    ATTEMPTING,
    UNREADABLE,
    WITH_TRAFFIC,
    Signal,
    SignalKind,
    Turn,
    fallback,
    known_unready,
    waited,
    watched,
)


def classify(turn: Turn) -> Signal:
    """Return the first signal of the chain that is up."""
    chain = PROTECTION if turn.spec.problem else CHAIN
    return next(signal for rule in chain if (signal := rule(turn)) is not None)


def _release(turn: Turn) -> Signal | None:
    return Signal(SignalKind.RELEASE, "Deleted", "the object is being deleted") if turn.seen.deleting else None


def _revert(turn: Turn) -> Signal | None:
    drift = traffic.detect_drift(turn.status, turn.seen.route)
    if drift.kind is not traffic.DriftKind.REVERTED:
        return None
    reason, _, message = drift.why.partition(": ")
    return Signal(
        SignalKind.REVERT, reason, message or f"traffic was sent back to version {drift.target}", drift.target
    )


def _abort(turn: Turn) -> Signal | None:
    status, version = turn.status, turn.spec.version
    tried = status.attempt is not None and status.attempt.version == version and status.phase in ATTEMPTING
    serves = status.stable is not None and status.stable.version == version and status.phase is Phase.PROMOTED
    if turn.spec.aborted and (tried or (serves and fallback(turn))):
        return Signal(SignalKind.ABORT, "Aborted", f"spec.abort names version {version}")
    return None


def _restore(turn: Turn) -> Signal | None:
    stable = turn.status.stable
    settled = turn.status.phase is Phase.PROMOTED
    if stable is None or stable.version != turn.spec.version or settled:
        return None
    return Signal(
        SignalKind.RESTORE, "Restored", f"the pin is back on version {stable.version}, which serves", stable.version
    )


def _return(turn: Turn) -> Signal | None:
    version, status = turn.spec.version, turn.status
    if (stable := status.stable) is not None and stable.version == version:
        return None
    if status.was_stable(version) is None or turn.spec.aborted or _tried(turn, version):
        return None
    if known_unready(turn.seen, version):
        return Signal(
            SignalKind.WARM_UP, "WarmingUp", f"version {version} was stable before; its pods come first", version
        )
    return Signal(SignalKind.RETURN, "Returned", f"version {version} was stable before and takes all traffic", version)


def _tried(turn: Turn, version: str) -> bool:
    """Tell whether this version is being tried, or was and failed."""
    attempt = turn.status.attempt
    running = turn.status.phase in ATTEMPTING and attempt is not None and attempt.version == version
    return running or _rejection(turn, version) is not None


def _rejection(turn: Turn, version: str) -> Rejection | None:
    pin = version, turn.spec.fingerprint
    return next((known for known in turn.status.rejected if (known.version, known.fingerprint) == pin), None)


def _repin(turn: Turn) -> Signal | None:
    stable, version = turn.status.stable, turn.spec.version
    if (found := traffic.unremembered(turn.status, turn.seen.route, version)) and not _tried(turn, found):
        return Signal(SignalKind.REPIN, "Adopted", f"version {found} has traffic and was forgotten: it is first", found)
    if found or (stable is not None and stable.version == version) or turn.spec.aborted or _tried(turn, version):
        return None
    return Signal(SignalKind.REPIN, "Pinned", f"version {version} is pinned", version)


def _recall(turn: Turn) -> Signal | None:
    """Return that the pin stays out: what is promoted is another version, and must not be taken for it."""
    stable, version = turn.status.stable, turn.spec.version
    if turn.status.phase is not Phase.PROMOTED or stable is None or stable.version == version:
        return None
    if turn.spec.aborted:
        return Signal(SignalKind.RECALL, "Aborted", f"spec.abort names version {version}", version)
    known = _rejection(turn, version)
    said = f"version {version} is not tried again until the spec changes: {known.message}" if known else ""
    return Signal(SignalKind.RECALL, known.reason, said, version) if known else None


def _breach(turn: Turn) -> Signal | None:
    if turn.status.phase not in WITH_TRAFFIC and fallback(turn) is None:
        return None
    for guardrail in watched(turn.spec, turn.status):
        tally = turn.evidence.of(guardrail.name)
        if breached(guardrail, tally):
            said = tally.verdict.message if tally.verdict else "failed before a restart"
            message = f"guardrail {guardrail.name}: {said}{policy.suspect(turn)}"
            return Signal(SignalKind.BREACH, "GuardrailFailed", message)
    return None


def _lost(turn: Turn) -> Signal | None:
    candidate = turn.status.candidate
    if turn.status.phase in WITH_TRAFFIC and candidate and known_unready(turn.seen, candidate.version):
        return Signal(SignalKind.LOST, "CandidateLost", f"version {candidate.version} has no ready pod left")
    return None


def _ineffective(turn: Turn) -> Signal | None:
    attempt = turn.status.attempt
    if turn.status.phase not in WITH_TRAFFIC or attempt is None or attempt.settled_at is not None:
        return None
    if waited(turn, attempt) < attempt.plan.effect_deadline or traffic.converged(turn.status, turn.seen):
        return None
    if traffic.is_scarce(turn.status, turn.seen):
        return None
    return Signal(SignalKind.INEFFECTIVE, "RouteNotEffective", _late(turn))


def _late(turn: Turn) -> str:
    effect = turn.seen.effect
    detail = effect.value.detail if isinstance(effect, Value) else effect.message
    said = "the router did not take up the split by its deadline"
    return f"{said}: {detail}" if detail else said


def _blind(turn: Turn) -> Signal | None:
    if turn.status.phase not in WITH_TRAFFIC:
        return None
    for guardrail in watched(turn.spec, turn.status):
        if blind(guardrail, turn.evidence.of(guardrail.name), turn.seen.now):
            return Signal(
                SignalKind.BLIND, "GuardrailBlind", f"guardrail {guardrail.name} has had no answer by its deadline"
            )
    return None


def _settle(turn: Turn) -> Signal | None:
    attempt = turn.status.attempt
    waits = turn.status.phase in WITH_TRAFFIC and attempt is not None and attempt.settled_at is None
    if (waits or progress.counters_fell(turn)) and traffic.converged(turn.status, turn.seen):
        return Signal(SignalKind.SETTLE, "Settled", "the split is in effect")
    return None


def _pause(turn: Turn) -> Signal | None:
    if turn.spec.paused and turn.status.phase in ATTEMPTING:
        return Signal(SignalKind.PAUSE, "Paused", "spec.paused is true; guardrails go on watching")
    return None


def _unreadable(turn: Turn) -> Signal | None:
    return Signal(SignalKind.HOLD, UNREADABLE, turn.spec.problem)


CHAIN: tuple[Callable[[Turn], Signal | None], ...] = (
    _release, _revert, _abort, _restore, _return, _repin,
    _breach, _lost, drill.lose, _ineffective, _blind,
    drill.follow, _settle, _recall, drill.begin, _pause, progress.judge,
)  # fmt: skip
PROTECTION: tuple[Callable[[Turn], Signal | None], ...] = (
    _release, _revert, _breach, _lost, drill.lose, _ineffective, _blind, drill.follow, _settle, _unreadable,
)  # fmt: skip
"""What needs nothing of the spec: all that is left of the chain while the spec cannot be used."""
