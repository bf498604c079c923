"""Gates that ask pods, and what comes of asking, by the dice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from modelramp.rollout.gates.spec import Dataset, Gates, RollbackGate, StagingGate
from modelramp.rollout.observation import Busy, Failed, NoData, Rehearsal, Replay, Value
from modelramp.rollout.status import Attempt, GateResult, Status

if TYPE_CHECKING:
    from tests.properties.worlds import Dice

FAST, SLOW = 0.01, 0.2
BOUND = timedelta(milliseconds=50)
SMALL, LARGE = 100, 900


def staging_gates(dice: Dice) -> StagingGate | None:
    gate = StagingGate(
        requests=10,
        p50=dice.choice([None, BOUND]),
        p95=dice.choice([None, BOUND]),
        p99=dice.choice([None, BOUND]),
        error_rate=dice.choice([0.0, 0.2]),
        memory=dice.choice([None, 500]),
        dataset=dice.choice([None, Dataset("payloads", "requests.jsonl")]),
    )
    return dice.choice([None, gate, gate])


def rollback_gates(dice: Dice) -> RollbackGate | None:
    return dice.choice([None, RollbackGate(), RollbackGate(required=False)])


def asked_for(gates: Gates) -> set[str]:
    """Return the names of the results that have to be there and to have passed before any traffic."""
    names = {"rollback"} if gates.rollback and gates.rollback.required else set()
    if gates.staging is None:
        return names
    bounds = {"p50": gates.staging.p50, "p95": gates.staging.p95, "p99": gates.staging.p99}
    bounded = {name for name, bound in {**bounds, "memory": gates.staging.memory}.items() if bound is not None}
    return names | {f"staging:{name}" for name in ("errorRate", *bounded)}


def evidence(attempt: Attempt) -> tuple[GateResult, ...]:
    """Return what is remembered of a rehearsal that went well."""
    return tuple(GateResult(name, True, "Fine", "") for name in sorted(asked_for(attempt.plan.gates)))


def _replay(dice: Dice) -> Replay:
    answered = dice.usual(10, 0, 5, 9)
    times = [dice.usual(FAST, SLOW, None) if answered else None for _ in range(3)]
    return Replay(answered, *times, memory=dice.usual(SMALL, LARGE, None))


def _rehearsal(dice: Dice) -> Rehearsal | Busy:
    fallback = Replay(dice.choice([1, 1, 0]))
    return dice.usual(
        Rehearsal(_replay(dice), fallback), Rehearsal(None, fallback), Rehearsal(problem="it ended"), Busy("")
    )


def rehearsals(dice: Dice, status: Status) -> Value[Mapping[str, Rehearsal | Busy | Failed]] | NoData | Failed:
    own: dict[str, Rehearsal | Busy | Failed] = (
        {status.attempt.id: _rehearsal(dice)} if status.attempt and dice.usual(True, False) else {}
    )
    own |= {} if own or not status.attempt else dice.usual({}, {status.attempt.id: Failed("Forbidden", "no Jobs")})
    old = {"old-abc": _rehearsal(dice)} if dice.flag() else {}
    return dice.usual(Value({**old, **own}), Failed("Away", ""), NoData("NotAsked", ""))
