"""Whole turns by the dice: any spec, any status that can be remembered, anything that can be seen.

Seeded and plain, not Hypothesis: a turn has some hundred choices, and a thousand turns a second find more than
twenty that shrink well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from modelramp.rollout import guardrails as rails
from modelramp.rollout.decide import scope
from modelramp.rollout.gates.spec import NO_GATES, Gates, MetricGate
from modelramp.rollout.observation import (
    Busy,
    Effect,
    Failed,
    Measurement,
    Metric,
    ModelVersion,
    NoData,
    Observation,
    Reading,
    Route,
    Split,
    TrainingRun,
    Value,
    Workload,
)
from modelramp.rollout.rulebook import Floor, PromotionPolicy, RampFloor, Rulebook
from modelramp.rollout.signature import Field, Plain, Signature
from modelramp.rollout.spec import (
    Bounds,
    FailureLimit,
    FailureMode,
    Guardrail,
    OnNoData,
    Plan,
    Serving,
    Shadow,
    Spec,
    Step,
)
from modelramp.rollout.status import Attempt, AttemptKind, Drill, Phase, Pin, Rejection, Status, VerdictKind
from modelramp.rollout.traffic import AT_REST, RETREAT, WITH_CANDIDATE, desired
from modelramp.rollout.turn import WITH_TRAFFIC, watched
from tests.properties.rehearsals import evidence, rehearsals, rollback_gates, staging_gates

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSIONS = ("1", "2", "3", "4")
CURRENT, OLD = "1:current", "1:old"


@dataclass(frozen=True)
class World:
    """One turn's arguments."""

    spec: Spec
    status: Status
    seen: Observation
    evidence: rails.Evidence | None
    claimed: bool


def pin(version: str) -> Pin:
    return Pin(version, f"run-{version}", f"models:/m-{version}", "sha256:" + version * 8, "1700000000000")


DURATIONS = (timedelta(0), timedelta(seconds=15), timedelta(hours=1), timedelta(hours=24))
T = TypeVar("T")


class Dice(Random):
    """Random choices that read as what they choose."""

    calm = 0.5
    """How often the usual happens: an even chance in half of the worlds, nearly always in the others."""

    def flag(self) -> bool:
        return self.random() < 0.5

    def usual(self, usual: T, *others: T) -> T:
        return usual if self.random() < self.calm else self.choice(others)

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.sample(items, len(items))

    def subset(self, items: Sequence[T], *, min_size: int = 0, max_size: int | None = None) -> set[T]:
        size = self.randint(min_size, len(items) if max_size is None else min(max_size, len(items)))
        return set(self.sample(items, size))


def guardrail(dice: Dice, name: str) -> Guardrail:
    return Guardrail(
        name,
        "up",
        Bounds(max=0.5),
        compare=dice.flag(),
        failure_limit=FailureLimit(dice.randint(1, 3), dice.choice(list(FailureMode))),
        on_no_data=dice.choice(list(OnNoData)),
        min_passes=dice.randint(1, 3),
    )


def plans(dice: Dice) -> Plan:
    weights = sorted(dice.subset([1, 5, 10, 25, 50], max_size=3))
    steps = tuple(Step(weight, dice.choice(DURATIONS), dice.choice([0, 10]), dice.flag()) for weight in (*weights, 100))
    return Plan(
        gates=Gates(
            (MetricGate("auc", min=0.9, max_drop=dice.choice([None, 0.01])),),
            staging=staging_gates(dice),
            rollback=rollback_gates(dice),
        ),
        shadow=dice.choice([None, Shadow(dice.randint(1, 100), dice.choice(DURATIONS), dice.choice([0, 10]))]),
        steps=dice.choice([steps, steps, steps, ()]),
        guardrails=tuple(guardrail(dice, name) for name in dice.choice([(), ("errors",), ("errors", "latency")])),
    )


def attempts(dice: Dice, version: str, phase: Phase, kind: AttemptKind) -> Attempt:
    plan = plans(dice)
    if phase is Phase.RAMPING and not plan.steps:
        plan = replace(plan, steps=(Step(10), Step(100)))
    if phase is Phase.SHADOWING and plan.shadow is None:
        plan = replace(plan, shadow=Shadow())
    since = NOW - dice.choice([timedelta(0), timedelta(minutes=1), timedelta(minutes=30), timedelta(hours=30)])
    settled = dice.choice([None, since]) if phase in WITH_TRAFFIC else None
    step = dice.randint(0, len(plan.steps) - 1) if phase is Phase.RAMPING else 0
    attempt = Attempt(
        f"{version}-abc", version, kind, dice.choice([CURRENT, OLD]), plan, since, since,
        step=step, settled_at=settled, counted_from=dice.randint(0, 50),
    )  # fmt: skip
    judged = phase in WITH_TRAFFIC or (phase is Phase.STAGING and dice.flag())
    return replace(attempt, gates=evidence(attempt)) if judged else attempt


def statuses(dice: Dice, phase: Phase | None = None) -> Status:
    phase = phase or dice.choice(list(Phase))
    order = dice.shuffled(VERSIONS)
    kinds = [AttemptKind.FRESH, AttemptKind.FRESH, AttemptKind.FRESH, AttemptKind.RETURN]
    first = phase in (Phase.PENDING, Phase.GATING, Phase.STARTING, Phase.STAGING, Phase.REJECTED) and dice.flag()
    kind = AttemptKind.FIRST if first else dice.choice(kinds)
    if phase in (*WITH_TRAFFIC, Phase.GATING, Phase.STAGING) and kind is AttemptKind.RETURN:
        kind = AttemptKind.FRESH
    has_attempt = phase is not Phase.PENDING and (phase not in (Phase.PROMOTED, Phase.RELEASED) or dice.flag())
    candidate = pin(order[1]) if phase in WITH_CANDIDATE else None
    ended = {order[1]} if phase in (Phase.REJECTED, Phase.ROLLED_BACK) else set()
    rejected = tuple(
        Rejection(version, dice.choice([CURRENT, OLD]), "GuardrailFailed", "", NOW)
        for version in sorted(dice.subset(order[1:], max_size=2) | ended)
        if candidate is None or version != candidate.version
    )
    return Status(
        phase=phase,
        reason="Whatever",
        stable=None if first else pin(order[0]),
        candidate=candidate,
        previous=() if first else tuple(pin(version) for version in order[2 : 2 + dice.randint(0, 2)]),
        attempt=attempts(dice, order[1], phase, kind) if has_attempt else None,
        rejected=rejected,
        observed_generation=1,
        drill=drills(dice, order[2]) if phase in AT_REST and not first else None,
    )


def drills(dice: Dice, version: str) -> Drill | None:
    started = NOW - dice.choice([timedelta(0), timedelta(seconds=1), timedelta(minutes=30)])
    running = Drill("asked", version, started, dice.choice([None, started]))
    return dice.choice([None, None, running, replace(running, ended_at=started, reason="DrillFailed")])


def splits(dice: Dice, wanted: Split | None) -> Split:
    first, second = dice.shuffled(VERSIONS)[:2]
    weight = dice.choice([0, 1, 10, 50, 60, 100])
    mirror = {second: dice.choice([50, 100])} if dice.flag() else {}
    return dice.usual(wanted or Split({}), Split({first: 100 - weight, second: weight}, mirror))


def routes(dice: Dice, status: Status) -> Value[Route] | NoData | Failed:
    wanted = desired(status)
    split = splits(dice, wanted)
    ids = [status.attempt.id] if status.attempt else ["none"]
    route = Route(
        split=dice.usual(split, None),
        written=dice.choice([None, wanted, split, split]),
        backends=frozenset(dice.subset(VERSIONS)),
        author="kubectl-patch",
        why=dice.choice(["", "Ready", f"{RETREAT} {ids[0]} GuardrailFailed", f"{RETREAT} other GuardrailFailed"]),
        current=dice.flag(),
        malformed=dice.usual("", "weight.v1 is no number"),
    )
    return dice.usual(Value(route), NoData("NoRoute", ""), Failed("Away", ""))


def effects(dice: Dice, status: Status) -> Value[Effect] | NoData | Failed:
    counted = {version: dice.randint(0, 200) for version in VERSIONS}
    active = {version: dice.choice([0, 0, 3]) for version in VERSIONS}
    wanted = desired(status)
    in_effect = dice.usual(wanted, None, splits(dice, wanted))
    unreachable = dice.usual(frozenset(), frozenset(dice.subset(VERSIONS)))
    answer = Value(Effect(in_effect, counted, active, unreachable=unreachable))
    return dice.usual(answer, NoData("NotAsked", ""), Failed("NoRouter", ""))


def workloads(dice: Dice) -> Value[dict[str, Workload]] | Failed:
    versions = sorted(dice.subset(VERSIONS, min_size=1))
    every = {
        version: Workload(version, 2, dice.usual(2, 0, 1), dice.usual(True, False))
        for version in (*VERSIONS, *versions)
        if version in versions or dice.usual(True, False)
    }
    return dice.usual(Value(every), Failed("Away", ""))


def model(version: str, auc: float) -> ModelVersion:
    known = pin(version)
    identity = ("fraud", version, known.run_id, known.source, known.created, "READY", known.digest)
    logged, signature = (Metric("auc", auc, "holdout@1"),), Signature((Field("amount", Plain("double")),))
    return ModelVersion(*identity, signature, logged, run=TrainingRun(known.run_id))


def models(dice: Dice, version: str) -> object:
    bad = (Value(model(version, 0.5)), Value(model(version, float("nan"))))
    return dice.usual(
        Value(model(version, 0.95)), *bad, NoData("VersionNotFound", ""), Failed("Away", ""), Busy(""), None
    )


NUMBERS = (0.0, 0.1, 0.2, 0.9, float("nan"), float("inf"), float("-inf"))


def reading(dice: Dice) -> Value[float] | NoData | Failed:
    odd = Value(dice.choice(NUMBERS))
    return dice.usual(Value(dice.choice((0.0, 0.1))), odd, NoData("EmptyResult", ""), Failed("Timeout", "no answer"))


def evidences(dice: Dice, spec: Spec, status: Status) -> rails.Evidence | None:
    tallies = {}
    for rail in watched(spec, status):
        kind = dice.usual(VerdictKind.PASS, *VerdictKind)
        unknown = kind in (VerdictKind.NO_DATA, VerdictKind.INCONCLUSIVE)
        tallies[rail.name] = rails.Tally(
            rails.Verdict(kind, "Said", ""),
            NOW - timedelta(seconds=dice.choice([1, 15, 600])),
            passes=dice.randint(0, 4) if kind is VerdictKind.PASS else 0,
            failures=dice.randint(0, rail.failure_limit.count - 1),
            unknown_since=NOW - dice.choice([timedelta(seconds=5), timedelta(hours=1)]) if unknown else None,
            baseline=dice.usual(0.1, None),
        )
    known = rails.Evidence(dice.usual(scope(status), rails.Scope("other")), tallies)
    return dice.usual(known, None)


def world(dice: Dice, phase: Phase | None = None) -> World:
    """One turn, with everything that can be true at once."""
    status = statuses(dice, phase)
    attempt_version = status.attempt.version if status.attempt else None
    serves = status.stable.version if status.stable and status.phase is Phase.PROMOTED else attempt_version
    pinned = dice.usual(serves, *VERSIONS) or dice.choice(VERSIONS)
    abort = dice.usual(None, pinned, "9")
    step = dice.choice([None, f"{pinned}/1", f"{pinned}/10", f"{pinned}/50", f"{pinned}/100"])
    spec = Spec(
        "fraud", pinned, Serving(keep_warm=dice.randint(0, 2)), plans(dice), paused=dice.usual(False, True),
        abort=abort, approve=step, fingerprint=CURRENT, drill=dice.choice(["", "asked", "anew"]),
    )  # fmt: skip
    deleting = dice.usual(False, False, True)
    measurements = tuple(
        Measurement(
            rail.name,
            NOW - timedelta(seconds=dice.choice([0, 40000])),
            reading(dice),
            dice.usual(reading(dice), None),
        )
        for rail in watched(spec, status)
        if dice.flag()
    )
    seen = Observation(
        now=NOW,
        generation=dice.randint(1, 2),
        deleting=deleting,
        deleting_since=NOW - dice.choice([timedelta(0), timedelta(minutes=5)]) if deleting else None,
        route=routes(dice, status),
        effect=effects(dice, status),
        workloads=workloads(dice),
        model=models(dice, attempt_version) if attempt_version else None,  # type: ignore[arg-type]
        stable_model=models(dice, status.stable.version) if status.stable else None,  # type: ignore[arg-type]
        rehearsals=rehearsals(dice, status),
        measurements=measurements,
    )
    evidence, claimed = evidences(dice, spec, status), dice.flag()
    seen = replace(seen, rulebook=rulebooks(dice))
    status = replace(status, tried=dice.usual((), VERSIONS))
    return World(spec, status, seen, evidence, claimed)


def rulebooks(dice: Dice) -> Reading[Rulebook]:
    floor = Floor(
        replace(NO_GATES, metrics=(MetricGate("auc", min=dice.choice([0.5, 0.99])),)),
        Shadow(percent=0, duration=dice.choice(DURATIONS), min_requests=1),
        RampFloor(dice.choice([1, 10]), dice.choice(DURATIONS)),
        (guardrail(dice, "errors"),),
    )
    unknown = Failed("PromotionPoliciesUnknown", "not listed yet")
    return dice.usual(Value(Rulebook()), unknown, Value(Rulebook((PromotionPolicy("tier1", floor=floor),))))


def worlds(*phases: Phase, count: int) -> Iterator[World]:
    """Yield that many turns, the same ones every time; with phases only such as stand in one of them."""
    for seed in range(count):
        dice = Dice(seed)
        dice.calm = dice.choice((0.5, 0.97))
        yield world(dice, dice.choice(phases) if phases else None)
