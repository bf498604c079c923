"""The conditions, always present, and one more where there are rules, in the order in which kstatus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelramp.rollout import sunset
from modelramp.rollout.drift import PIN_DRIFT, drift, known
from modelramp.rollout.gating import overridden, summarize
from modelramp.rollout.observation import Failed, NoData, Observation, Posted, Value
from modelramp.rollout.status import Attempt, Condition, Phase, Status, VerdictKind
from modelramp.rollout.traffic import UNUSABLE, converged, desired
from modelramp.rollout.turn import UNREADABLE

AUDIT = "AuditRecorded"
"""Whether the registry has every record."""
STALLING = frozenset(
    {"VersionNotFound", "ModelNotFound", "LoggedModelNotFound", "ArtifactsNotFound", "RegistryDenied", "SourceRefused"}
    | {
        "PromotionPolicyInvalid",
        "TemplateNotFound",
        "TemplateAmbiguous",
        "TemplateNotCounted",
        "StagingNotSupported",
        "AnswersNotCompared",
        "TooManyGuardrails",
    }
    | {UNREADABLE, "MirrorNotSupported", PIN_DRIFT}
)
"""Holds in which nothing will move until somebody acts."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A condition before it is known since when it holds."""

    type: str
    status: str
    reason: str
    message: str = ""


def describe(status: Status, before: Iterable[Condition], seen: Observation) -> tuple[Condition, ...]:
    """Return all conditions; one whose status did not change keeps its time of transition."""
    earlier = {condition.type: condition for condition in before}
    effect = _traffic(status, earlier.get("TrafficConverged"), seen)
    audit = _audit(status, earlier.get(AUDIT), seen)
    judged = (*_summary(status, effect), _gates(status), _guardrails(status), effect, audit)
    claims = (*judged, _pins(status, seen), *_sunset(status, before, seen), *_policy(status))
    return tuple(_dated(claim, earlier.get(claim.type), status.observed_generation, seen) for claim in claims)


def _dated(claim: Claim, before: Condition | None, generation: int, seen: Observation) -> Condition:
    since = before.last_transition_time if before and before.status == claim.status else seen.now
    return Condition(claim.type, claim.status, claim.reason, claim.message, generation, since)


def _summary(status: Status, effect: Claim) -> tuple[Claim, Claim, Claim]:
    """Return Ready, Reconciling and Stalled; of the last two at most one is true."""
    text = status.message
    if status.phase in (Phase.PROMOTED, Phase.ROLLED_BACK, Phase.REJECTED) and effect.status == "False":
        reason = "RollingBack" if status.phase is Phase.ROLLED_BACK else "TrafficMoving"
        return Claim("Ready", "Unknown", reason, text), Claim("Reconciling", "True", reason, text), _calm("Stalled")
    if status.phase is Phase.PROMOTED and status.reason != UNREADABLE:
        return Claim("Ready", "True", status.reason, text), _calm("Reconciling"), _calm("Stalled")
    if status.phase in (Phase.ROLLED_BACK, Phase.REJECTED) or status.reason in STALLING:
        return (
            Claim("Ready", "False", status.reason, text),
            _calm("Reconciling"),
            Claim("Stalled", "True", status.reason, text),
        )
    return (
        Claim("Ready", "Unknown", status.reason, text),
        Claim("Reconciling", "True", status.reason, text),
        _calm("Stalled"),
    )


def _calm(kind: str) -> Claim:
    return Claim(kind, "False", "Settled" if kind == "Reconciling" else "NotStalled")


def _gates(status: Status) -> Claim:
    results = status.attempt.gates if status.attempt else ()
    failed = [result for result in results if not result.passed]
    if failed:
        return Claim("GatesPassed", "False", "GatesFailed", summarize(failed))
    if status.attempt and results:
        gates = status.attempt.plan.gates
        reason = "OverriddenGates" if any(result.overridden for result in results) else "GatesPassed"
        checked = f"{len(results)} checks passed" if reason == "GatesPassed" else ""
        said = "; ".join(filter(None, (checked, overridden(results, gates), _raised(status.attempt))))
        return Claim("GatesPassed", "True", reason, said)
    return Claim("GatesPassed", "Unknown", "NotJudged", "")


def _raised(attempt: Attempt) -> str:
    policies = sorted({each.policy for each in attempt.raised})
    return f"the plan was raised to the floor of {', '.join(policies)}" if policies else ""


def _guardrails(status: Status) -> Claim:
    for verdict, truth, reason in (
        (VerdictKind.FAIL, "False", "GuardrailFailing"),
        (VerdictKind.NO_DATA, "Unknown", "GuardrailNoData"),
        (VerdictKind.INCONCLUSIVE, "Unknown", "GuardrailInconclusive"),
    ):
        said = [
            f"{state.name}: {state.message or state.reason}" for state in status.guardrails if state.verdict is verdict
        ]
        if said:
            return Claim("GuardrailsHealthy", truth, reason, "; ".join(said))
    if status.guardrails:
        return Claim("GuardrailsHealthy", "True", "GuardrailsPassing", "")
    return Claim("GuardrailsHealthy", "Unknown", "NotWatching", "")


def _policy(status: Status) -> Iterator[Claim]:
    """Yield how the business rules stand, where there are to be any."""
    policy = status.policy
    if policy is None:
        return
    held = f"policy {policy.hash} is in force" if policy.hash else "no policy is in force"
    if policy.message:
        reason = "PolicyRefused" if policy.refused else "PolicyNotFound"
        yield Claim("PolicyInForce", "False", reason, f"{policy.message}; {held}")
    elif policy.hash:
        yield Claim("PolicyInForce", "True", "PolicyInForce", f"{held}, from ConfigMap {policy.config_map}")
    else:
        yield Claim("PolicyInForce", "Unknown", "PolicyNotConfirmed", "no pod has said yet that it applies the policy")


def _pins(status: Status, seen: Observation) -> Claim:
    if said := drift(status, seen):
        return Claim(PIN_DRIFT, "True", PIN_DRIFT, said)
    before = next((found.status for found in status.conditions if found.type == PIN_DRIFT), "Unknown")
    is_known = known(status, seen) or before == "False"
    return Claim(PIN_DRIFT, "False", "AsResolved") if is_known else Claim(PIN_DRIFT, "Unknown", "NotLookedUp")


def _sunset(status: Status, before: Iterable[Condition], seen: Observation) -> Iterator[Claim]:
    if (found := sunset.judge(status, before, seen)) is not None:
        yield Claim(sunset.SUNSET, found.status, found.reason, found.message)


def _traffic(status: Status, before: Condition | None, seen: Observation) -> Claim:
    wanted = desired(status)
    if isinstance(seen.route, Failed) and seen.route.reason in UNUSABLE:
        return Claim("TrafficConverged", "False", seen.route.reason, seen.route.message)
    if wanted is None:
        return Claim("TrafficConverged", "Unknown", "NoTraffic", "no version holds traffic yet")
    if converged(status, seen):
        return Claim("TrafficConverged", "True", "InEffect", "")
    stored = (
        isinstance(seen.route, Value) and seen.route.value.split is not None and seen.route.value.split.same(wanted)
    )
    proxies_say_otherwise = isinstance(seen.effect, Value) and seen.effect.value.in_effect is not None
    if stored and not proxies_say_otherwise and before and before.status == "True" and before.reason == "InEffect":
        return Claim("TrafficConverged", "True", "InEffect", "")
    if stored:
        return Claim("TrafficConverged", "False", "WaitingForRouter", "stored, and not yet taken up by every router")
    return Claim("TrafficConverged", "False", "RouteDiffers", "the stored route is not yet as it should be")


def _audit(status: Status, before: Condition | None, seen: Observation) -> Claim:
    """Tell whether the registry has the story; while that is being found out, what was known stands."""
    match seen.journal:
        case Failed(reason, message) | Value(Posted(refused=Failed(reason, message))) if status.outbox:
            return Claim(AUDIT, "False", reason, message)
        case NoData(reason, _):
            return Claim(AUDIT, "Unknown", reason)
        case Value(posted) if posted.foreign:
            message = f"left alone, somebody else set it: alias {', '.join(posted.foreign)}"
            return Claim(AUDIT, "True", "AliasTaken", message)
        case Value(posted) if posted.ids and not status.outbox:
            return Claim(AUDIT, "True", "Recorded")
        case _ if before and before.reason != "JournalOff":
            return Claim(AUDIT, before.status, before.reason, before.message)
        case _:
            return Claim(AUDIT, "Unknown", "NothingRecorded")
