"""Judge guardrails: one answer to a verdict, verdicts to a tally, tallies to a breach."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from modelramp.rollout.observation import Failed, Measurement, NoData, Reading, Value
from modelramp.rollout.spec import Bounds, FailureMode, Guardrail, OnNoData
from modelramp.rollout.status import GuardrailState, VerdictKind


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one measurement says. Only `PASS` ever helps a candidate forward."""

    kind: VerdictKind
    reason: str
    message: str
    value: float | None = None
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What a guardrail has said so far.

    `passes` are consecutive passing verdicts that were asked after the present split was seen in effect;
    `failures` count towards the limit; `baseline` is the last value of the stable version while it had traffic.
    """

    verdict: Verdict | None = None
    asked_at: datetime | None = None
    passes: int = 0
    failures: int = 0
    unknown_since: datetime | None = None
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What verdicts belong to: failures to one attempt (or to the watch over stable), passes to one stage of it."""

    subject: str = ""
    stage: str = ""
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All tallies, kept in memory between turns, with what they were counted under, and since when."""

    scope: Scope = Scope()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    since: datetime | None = None
    """This process's first look at the object: what it did not do before then, nobody did."""

    def of(self, guardrail: str) -> Tally:
        """Return a guardrail's tally, an empty one when it was never asked."""
        return self.tallies.get(guardrail, Tally())


def judge(guardrail: Guardrail, measurement: Measurement, remembered: float | None = None) -> Verdict:
    """Judge one measurement; `remembered` is the baseline to use where the stable version has no traffic now."""
    match measurement.candidate:
        case Value(value) if math.isnan(value):
            return Verdict(VerdictKind.NO_DATA, "NotANumber", "the query answered NaN")
        case Value(value) if math.isinf(value):
            return Verdict(VerdictKind.INCONCLUSIVE, "Infinite", "the query answered an infinite number")
        case Value(value):
            return _judge_value(guardrail, value, _baseline(measurement.baseline, remembered))
        case NoData(reason, message) | Failed(reason, message):
            return Verdict(VerdictKind.NO_DATA, reason, message)
        case other:
            assert_never(other)


def _baseline(reading: Reading[float] | None, remembered: float | None) -> float | None:
    if isinstance(reading, Value) and math.isfinite(reading.value):
        return reading.value
    return remembered


def _judge_value(guardrail: Guardrail, value: float, baseline: float | None) -> Verdict:
    if complaint := _outside(guardrail.bounds, value):
        return Verdict(VerdictKind.FAIL, "OutOfBounds", complaint, value, baseline)
    if not guardrail.compare:
        return Verdict(VerdictKind.PASS, "WithinBounds", "", value)
    if baseline is None:
        return Verdict(VerdictKind.INCONCLUSIVE, "NoBaseline", "the stable version has no value to compare with", value)
    limit = baseline * guardrail.tolerance + guardrail.slack
    if value > limit:
        message = f"{value:.4g} is above {limit:.4g}, which stable's {baseline:.4g} allows"
        return Verdict(VerdictKind.FAIL, "WorseThanStable", message, value, baseline)
    return Verdict(VerdictKind.PASS, "WithinBounds", "", value, baseline)


def _outside(bounds: Bounds, value: float) -> str:
    if bounds.max is not None and value > bounds.max:
        return f"{value:.4g} is above max {bounds.max:.4g}"
    if bounds.min is not None and value < bounds.min:
        return f"{value:.4g} is below min {bounds.min:.4g}"
    return ""


def tally(guardrail: Guardrail, before: Tally, verdict: Verdict, asked_at: datetime, *, counts: bool) -> Tally:
    """Count one verdict; `counts` tells whether a pass was asked after the present split was seen in effect."""
    asked = replace(before, verdict=verdict, asked_at=asked_at, baseline=_keep(verdict.baseline, before.baseline))
    match verdict.kind:
        case VerdictKind.PASS:
            failures = before.failures if guardrail.failure_limit.mode is FailureMode.TOTAL else 0
            return replace(asked, passes=before.passes + counts, failures=failures, unknown_since=None)
        case VerdictKind.FAIL:
            failures = min(before.failures + 1, guardrail.failure_limit.count)  # beyond it there is nothing to write
            return replace(asked, passes=0, failures=failures, unknown_since=None)
        case VerdictKind.NO_DATA | VerdictKind.INCONCLUSIVE:
            return replace(asked, passes=0, unknown_since=before.unknown_since or asked_at)
        case other:
            assert_never(other)


def _keep(new: float | None, old: float | None) -> float | None:
    return old if new is None else new


def breached(guardrail: Guardrail, seen: Tally) -> bool:
    """Tell whether the guardrail has failed as often as its limit says."""
    return seen.failures >= guardrail.failure_limit.count


def blind(guardrail: Guardrail, seen: Tally, now: datetime) -> bool:
    """Tell whether a guardrail that must answer has been silent past its deadline."""
    if guardrail.on_no_data is OnNoData.HOLD or seen.unknown_since is None:
        return False
    return now - seen.unknown_since >= guardrail.no_data_deadline


def satisfied(guardrail: Guardrail, seen: Tally) -> bool:
    """Tell whether enough passing verdicts stand, the newest among them."""
    return seen.verdict is not None and seen.verdict.kind is VerdictKind.PASS and seen.passes >= guardrail.min_passes


def due(guardrail: Guardrail, seen: Tally, now: datetime) -> timedelta:
    """Return how long until the guardrail is to be asked again; zero or less means now."""
    return timedelta(0) if seen.asked_at is None else seen.asked_at + guardrail.interval - now


def restore(states: Iterable[GuardrailState], scope: Scope, now: datetime) -> Evidence:
    """Start the tallies from what is remembered: failures and baselines survive a restart, passes do not."""
    tallies = {state.name: Tally(failures=state.failures, baseline=state.baseline) for state in states}
    return Evidence(scope, tallies, now)


def gather(
    guardrails: Iterable[Guardrail], before: Evidence, measurements: Iterable[Measurement], scope: Scope
) -> Evidence:
    """Fold this turn's measurements into the tallies, every one of them: a slow turn finds several."""
    answers = tuple(measurements)
    return Evidence(
        scope,
        {
            guardrail.name: _fold(
                guardrail,
                _carry(before, scope, guardrail.name),
                [answer for answer in answers if answer.guardrail == guardrail.name],
                scope,
            )
            for guardrail in guardrails
        },
        before.since,
    )


def _carry(before: Evidence, scope: Scope, name: str) -> Tally:
    seen = before.of(name)
    if before.scope.subject != scope.subject:
        return Tally(baseline=None if scope.stage else seen.baseline)
    return seen if before.scope == scope else replace(seen, passes=0)


def _fold(guardrail: Guardrail, seen: Tally, measurements: Sequence[Measurement], scope: Scope) -> Tally:
    """Count answers in their order, up to a breach: what came after it must not hide it before it was acted on."""
    for number, measurement in enumerate(measurements):
        if breached(guardrail, seen) and (scope.stage or number):
            return seen
        verdict = judge(guardrail, measurement, seen.baseline)
        counts = scope.settled_at is not None and measurement.asked_at >= scope.settled_at
        seen = tally(guardrail, seen, verdict, measurement.asked_at, counts=counts)
    return seen


def remembered(
    guardrails: Iterable[Guardrail], before: Iterable[GuardrailState], evidence: Evidence
) -> tuple[GuardrailState, ...]:
    """Return what is worth writing: a state changes only with its verdict, its reason or its failures."""
    known = {state.name: state for state in before}
    return tuple(
        _remember(known.get(guardrail.name), guardrail.name, seen)
        for guardrail in guardrails
        if (seen := evidence.of(guardrail.name)).verdict is not None or guardrail.name in known
    )


def _remember(before: GuardrailState | None, name: str, seen: Tally) -> GuardrailState:
    verdict = seen.verdict
    if verdict is None or seen.asked_at is None:
        assert before is not None  # noqa: S101 - `remembered` asks only for names that are known
        return before
    if before and (before.verdict, before.reason, before.failures) == (verdict.kind, verdict.reason, seen.failures):
        return before
    since = before.since if before and before.verdict is verdict.kind else seen.asked_at
    return GuardrailState(name, verdict.kind, verdict.reason, verdict.message, since, seen.failures, seen.baseline)
