"""Write down what was decided, on whose word, and on what it rests: a turn's before and after as records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from modelramp import __version__
from modelramp.rollout import drill, progress
from modelramp.rollout.observation import Value
from modelramp.rollout.spec import Guardrail, Plan
from modelramp.rollout.status import Attempt, Drill, Finding, GateResult, Phase, Pin, Record, Status, VerdictKind
from modelramp.rollout.traffic import BY_HAND
from modelramp.rollout.turn import ATTEMPTING, WITH_TRAFFIC, Signal, SignalKind, Turn, watched

APPROVED, PAUSED, RESUMED, OVERRIDDEN = "Approved", "Paused", "Resumed", "Overridden"
"""Decisions of people that lead to no other state of the machine."""
LONGEST_MESSAGE, LONGEST_QUERY, MOST_FINDINGS = 1000, 1000, 64
_GATED = (SignalKind.ACCEPT, SignalKind.REFUSE)
_PINNING = (SignalKind.RESTORE, SignalKind.RETURN, SignalKind.WARM_UP)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a turn's signal came to, as it is told: the event, the version that it is about, a sentence."""

    event: str
    version: str
    message: str


def record(
    turn: Turn, signal: Signal, after: Status, decided: Decided | None, rules: Iterable[Decided] = ()
) -> tuple[Record, ...]:
    """Return this turn's records, oldest first; none when nothing was decided. `after` has its columns.

    `rules` is what is new about the business rules, which no signal stands for.
    """
    people = (*_by_people(turn, signal), *_overridden(turn, signal, after))
    said = (*people, *_cut_short(turn.status, signal, after), *((decided,) if decided else ()))
    seen = turn.seen.rules
    author = seen.value.author if isinstance(seen, Value) else ""
    about_rules = (replace(_record(turn, signal, after, each), reason=each.event, by=author) for each in rules)
    return (*about_rules, *(_record(turn, signal, after, each) for each in said))


def _by_people(turn: Turn, signal: Signal) -> Iterator[Decided]:
    """Yield what somebody allowed or stopped, which the machine's table does not know."""
    attempt, status = turn.status.attempt, turn.status
    if attempt is None or status.phase not in ATTEMPTING:
        return
    was_paused = _is_paused(status, attempt)
    if signal.kind is SignalKind.PAUSE and not was_paused:
        yield Decided(PAUSED, attempt.version, signal.message)
    if was_paused and not turn.spec.paused:
        yield Decided(RESUMED, attempt.version, "spec.paused is no longer true")
    approval = progress.demands(turn, attempt)[2] if status.phase is Phase.RAMPING else ""
    if approval and signal.kind in (SignalKind.RAMP, SignalKind.FINISH):
        yield Decided(APPROVED, attempt.version, f'spec.approve is "{approval}"')


def _overridden(turn: Turn, signal: Signal, after: Status) -> Iterator[Decided]:
    """Yield that gates which failed are passed all the same: an exception is never silent."""
    gates = after.attempt.gates if after.attempt and signal.kind in _GATED else ()
    known = turn.status.attempt.gates if turn.status.attempt else ()
    used = (result for result in gates if result.overridden and result not in known)
    if told := "; ".join(f"{result.gate}: {result.override}" for result in used):
        yield Decided(OVERRIDDEN, after.attempt.version if after.attempt else "", told)


def _cut_short(before: Status, signal: Signal, after: Status) -> Iterator[Decided]:
    ended = drill.cut_short(before, after)
    if ended and signal.kind is not SignalKind.DRILLED:
        yield Decided(drill.FAILED, ended.version, ended.message)


def _is_paused(status: Status, attempt: Attempt) -> bool:
    told = (known.event for known in reversed(status.history) if known.attempt == attempt.id)
    return next((event for event in told if event in (PAUSED, RESUMED)), RESUMED) == PAUSED


def _record(turn: Turn, signal: Signal, after: Status, decided: Decided) -> Record:
    at, attempt = turn.seen.now, after.attempt or turn.status.attempt
    return Record(
        at=at,
        version=decided.version,
        event=decided.event,
        message=decided.message[:LONGEST_MESSAGE],
        id=f"{at:%Y%m%dT%H%M%S}.{at.microsecond:06}Z-{decided.event}",
        reason=signal.reason,
        by=_by(turn, signal, decided),
        attempt=attempt.id if attempt else "",
        generation=turn.seen.generation,
        phase=after.phase.value,
        step=after.step,
        stable=after.stable.version if after.stable else "",
        weight=after.weight,
        pin=_pin(turn.status, after, decided.version),
        plan=plan_hash(attempt.plan) if attempt else "",
        policy=after.policy.hash if after.policy else "",
        operator=__version__,
        evidence=tuple(_evidence(turn, signal, after))[:MOST_FINDINGS],
    )


def plan_hash(plan: Plan) -> str:
    """Return a short hash of what an attempt is held to; equal plans of one operator version have the same."""
    return sha256(repr(plan).encode()).hexdigest()[:12]


def _pin(before: Status, after: Status, version: str) -> Pin | None:
    known = (after.candidate, after.stable, before.candidate, before.stable, *after.previous)
    return next((pin for pin in known if pin and pin.version == version), None)


def _by(turn: Turn, signal: Signal, decided: Decided) -> str:
    """Return who asked for it: the manager of the field that says so, or the author of the route."""
    people = {PAUSED: "paused", RESUMED: "paused", APPROVED: "approve", OVERRIDDEN: "gates.overrides"}
    if signal.kind is SignalKind.REVERT:
        route = turn.seen.route
        return route.value.author if signal.reason == BY_HAND and isinstance(route, Value) else ""
    asked = people.get(decided.event) or _field(turn, signal)
    return "" if asked is None else turn.seen.managers.get(asked, "")


def _field(turn: Turn, signal: Signal) -> str | None:
    """Return the field of the spec that asks for it, "" for any of them, None where nobody asked."""
    if signal.kind is SignalKind.ABORT:
        return "abort"
    if signal.kind in _PINNING:
        return "model.version"
    if signal.kind in drill.KINDS:
        return "drill"
    if signal.kind is not SignalKind.REPIN or signal.target != turn.spec.version:
        return None
    return "" if any(known.version == signal.target for known in turn.status.rejected) else "model.version"


def _evidence(turn: Turn, signal: Signal, after: Status) -> Iterator[Finding]:
    attempt = turn.status.attempt
    if signal.kind in _GATED and after.attempt:
        yield from _floors(after.attempt)
        yield from (_gate(result) for result in after.attempt.gates)
    if signal.kind is SignalKind.DRILLED and after.drill:
        yield from _drill(after.drill, turn.spec.plan.effect_deadline.total_seconds())
    if attempt and turn.status.phase is Phase.STARTING:
        yield from _pods(turn, attempt)
    if attempt and turn.status.phase in WITH_TRAFFIC:
        yield from _stage(turn, attempt)
    if turn.status.phase in WITH_TRAFFIC or signal.kind is SignalKind.BREACH:
        yield from (_guardrail(turn, guardrail) for guardrail in watched(turn.spec, turn.status))


def _floors(attempt: Attempt) -> Iterator[Finding]:
    """Yield each policy that selected the version, and what it raised."""
    for each in attempt.policies:
        raised = "; ".join(f"{one.field}: {one.message}" for one in attempt.raised if one.policy == each.policy)
        says = raised[:LONGEST_MESSAGE] or "the spec asks for no less"
        source = f"generation {each.generation}"
        yield Finding(f"floor {each.policy}", VerdictKind.PASS, "FloorHolds", says, source=source)


def _gate(result: GateResult) -> Finding:
    verdict = VerdictKind.PASS if result.passed and not result.overridden else VerdictKind.FAIL
    finding = Finding(f"gate {result.gate}", verdict, result.reason, result.message[:LONGEST_MESSAGE])
    override = result.override[:LONGEST_MESSAGE]
    return replace(finding, found=result.value, bound=result.bound, source=result.source, override=override)


def _pods(turn: Turn, attempt: Attempt) -> Iterator[Finding]:
    if isinstance(turn.seen.workloads, Value) and (found := turn.seen.workloads.value.get(attempt.version)):
        verdict = VerdictKind.PASS if found.ready >= max(1, found.desired) else VerdictKind.FAIL
        yield Finding("pods", verdict, message=found.trouble[:LONGEST_MESSAGE], value=found.ready, min=found.desired)


def _stage(turn: Turn, attempt: Attempt) -> Iterator[Finding]:
    """Yield the time and the requests of the stage that ends, once its split was in effect."""
    if attempt.settled_at is None:
        return
    hold, least, _ = progress.demands(turn, attempt)
    held = (turn.seen.now - attempt.settled_at).total_seconds()
    yield _at_least("hold", held, hold.total_seconds())
    if isinstance(turn.seen.effect, Value):
        yield _at_least("requests", progress.requests(turn, attempt), least)


def _at_least(check: str, value: float, least: float) -> Finding:
    if value >= least:
        return Finding(check, VerdictKind.PASS, "Reached", value=value, min=least)
    return Finding(check, VerdictKind.INCONCLUSIVE, "NotReached", value=value, min=least)


def _drill(ended: Drill, deadline: float) -> Iterator[Finding]:
    """Yield how many seconds each way took until it was in effect."""
    for way, seconds in zip(("drill there", "drill back"), drill.seconds(ended), strict=True):
        if seconds is not None:
            yield Finding(way, VerdictKind.PASS, "InEffect", value=seconds, max=deadline)


def _guardrail(turn: Turn, guardrail: Guardrail) -> Finding:
    seen, query = turn.evidence.of(guardrail.name), guardrail.query[:LONGEST_QUERY]
    check, bounds = f"guardrail {guardrail.name}", guardrail.bounds
    if seen.verdict is None:
        finding = Finding(check, VerdictKind.NO_DATA, "NotAsked", query=query)
    else:
        said, message = seen.verdict, seen.verdict.message[:LONGEST_MESSAGE]
        finding = Finding(check, said.kind, said.reason, message, said.value, baseline=seen.baseline, query=query)
    return replace(finding, min=bounds.min, max=bounds.max, samples=seen.passes, failures=seen.failures)
