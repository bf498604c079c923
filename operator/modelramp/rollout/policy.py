"""Follow the business rules: which are in force, which edit is refused, and whether a breach came after a change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from modelramp.rollout.observation import Failed, NoData, Rules, Value
from modelramp.rollout.record import Decided
from modelramp.rollout.status import Phase, PolicyState, Status, VerdictKind
from modelramp.rollout.turn import WITH_TRAFFIC, Turn, watched

CHANGED, REFUSED, HELD = "PolicyChanged", "PolicyRefused", "PolicyHeld"
EVENTS = {CHANGED: True, REFUSED: False, HELD: True}
"""Events about the rules, and whether each is Normal."""
SPREADING, MISSING = timedelta(seconds=1), timedelta(seconds=15)
"""Until the next look: while pods have not said yet that an edit is in force, and while there is no ConfigMap."""


def follow(turn: Turn, after: Status) -> Status:
    """Return the status with what is known of the rules now; what could not be read changes nothing."""
    asked = turn.spec.policy
    if asked is None:
        return after if after.policy is None or turn.spec.problem else replace(after, policy=None)
    known = after.policy
    if known is None or known.config_map != asked.config_map:
        known = PolicyState(asked.config_map, known.hash if known else "", since=known.since if known else None)
    match turn.seen.rules:
        case Value(rules):
            known = _seen(known, rules, turn.seen.now)
        case NoData(_, message):
            known = replace(known, refused="", message=message)
        case Failed() | None:
            pass
    return replace(after, policy=_ended(turn, after, known))


def _seen(known: PolicyState, rules: Rules, now: datetime) -> PolicyState:
    complaint = rules.problem or rules.refused
    known = replace(known, refused=rules.hash if complaint else "", message=complaint)
    in_force = not rules.problem and (rules.applied > 0 or not (rules.refused or rules.waiting))
    if not in_force or rules.hash == known.hash:
        return known
    # The first rules are no change: no answer was given without them.
    return replace(known, hash=rules.hash, previous=known.hash, since=now, watching=bool(known.hash))


def _ended(turn: Turn, after: Status, known: PolicyState) -> PolicyState:
    """End the watch over a change: by its time, or by a rollback, which has told of it."""
    if not known.watching or known.since is None:
        return known
    over = turn.spec.policy is not None and turn.seen.now - known.since >= turn.spec.policy.watch_for
    return replace(known, watching=False) if over or after.phase is Phase.ROLLED_BACK else known


def decided(turn: Turn, after: Status) -> Iterator[Decided]:
    """Yield what is new about the rules."""
    before, now = turn.status.policy, after.policy
    if now is None:
        return
    version = after.stable.version if after.stable else turn.spec.version
    if now.hash and now.hash != (before.hash if before else ""):
        follows = f", after {now.previous}" if now.previous else ""
        yield Decided(CHANGED, version, f"policy {now.hash} of ConfigMap {now.config_map} is in force{follows}")
    if now.message and now.message != (before.message if before else ""):
        kept = f"; {now.hash} stays in force" if now.hash else ""
        yield Decided(REFUSED, version, f"ConfigMap {now.config_map}: {now.message}{kept}")
    if before and before.watching and not now.watching and after.phase is not Phase.ROLLED_BACK and _held(turn, after):
        yield Decided(HELD, version, f"every guardrail held since policy {now.hash} came into force")


def _held(turn: Turn, after: Status) -> bool:
    verdicts = {state.name: state.verdict for state in after.guardrails}
    names = [guardrail.name for guardrail in watched(turn.spec, after)]
    return bool(names) and all(verdicts.get(name) is VerdictKind.PASS for name in names)


def suspect(turn: Turn) -> str:
    """Return which changed last before a breach, where the rules have changed a short time ago; else nothing."""
    policy, attempt = turn.status.policy, turn.status.attempt
    if policy is None or not policy.watching or policy.since is None:
        return ""
    changed = attempt.phase_since if attempt else None
    change = f"policy {policy.hash} came into force at {_at(policy.since)}, after {policy.previous}"
    if changed is None or changed <= policy.since:
        model = f"; the model's share at {_at(changed)}" if changed else ""
        return f" (the policy changed last: {change}{model})"
    about = "the candidate's share" if turn.status.phase in WITH_TRAFFIC else "the model"
    return f" (the model changed last: {about} at {_at(changed)}; {change})"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def moments(turn: Turn) -> Iterator[timedelta]:
    """Yield how long until time alone, or pods that say nothing by themselves, can change what is known."""
    policy, asked = turn.status.policy, turn.spec.policy
    if asked is None or turn.spec.problem:
        return
    if policy and policy.watching and policy.since:
        yield policy.since + asked.watch_for - turn.seen.now
    match turn.seen.rules:
        case Value(rules) if rules.waiting or rules.untold:
            yield SPREADING
        case NoData() | Failed():
            yield MISSING
        case _:
            return
