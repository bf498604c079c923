"""A rollback is rehearsed on the live traffic: it goes there and back, is timed, and always ends on stable."""

from __future__ import annotations

from datetime import timedelta

import pytest

from modelramp.account import gather, tell_why
from modelramp.explain import Subject, explain
from modelramp.rollout.gates.floor import raise_gates
from modelramp.rollout.gates.spec import Gates, RollbackGate
from modelramp.rollout.observation import NoData
from modelramp.rollout.status import Drill, GateResult
from tests.rollout.test_record import history, played
from tests.scenarios.player import REF, Player

PROMOTED = ("pin 2", "run 9h")


def weights(player: Player) -> dict[str, int]:
    split = player.world.routes[REF].split
    assert split is not None
    return {version: percent for version, percent in split.weights.items() if percent}


def drill(player: Player) -> Drill:
    found = player.world.objects[REF].status.drill
    assert found is not None
    return found


def phase(player: Player) -> str:
    return player.world.objects[REF].status.phase.value


def told(player: Player) -> list[str]:
    return [
        event.reason for _, _, event in player.world.events if "Drill" in event.reason or "Rehearsed" in event.reason
    ]


def in_the_middle(*commands: str) -> Player:
    """Return a player in a drill that the routers have not taken up."""
    player = played(*PROMOTED, "away proxies", "set drill=x", "run 1s")
    assert weights(player) == {"1": 100}
    for command in commands:
        player.play(command)
    return player


def test_a_drill_moves_all_traffic_there_and_back_and_is_timed() -> None:
    player = played(*PROMOTED, "set drill=x", "run 1m")
    moves = [write for write in player.world.writes if write.startswith("route ")][-2:]
    assert [move.split()[1] for move in moves] == ["v1=100", "v2=100"]
    assert (drill(player).reason, weights(player), phase(player)) == ("RollbackRehearsed", {"2": 100}, "Promoted")
    record = history(player)[-1]
    assert (record.event, record.version) == ("RollbackRehearsed", "1")
    times = {found.check: found.value for found in record.evidence if found.check.startswith("drill")}
    assert set(times) == {"drill there", "drill back"}
    assert all(value is not None and 0 < value < 5 for value in times.values())
    assert player.world.objects[REF].status.rehearsed == drill(player)
    player.play("run 1h")
    assert told(player) == ["DrillStarted", "RollbackRehearsed"], "one is asked for once"


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        (("pin 2", "run 10m"), "an attempt is running, with version 2: ask again when it has ended"),
        (("run 1m",), "no version to fall back to is warm and ready (serving.keepWarm is 1)"),
        ((*PROMOTED, "set paused=true", "run 1m"), "spec.paused is true"),
        (
            (*PROMOTED, "set keep-warm=0", "run 1m"),
            "no version to fall back to is warm and ready (serving.keepWarm is 0)",
        ),
    ],
)
def test_a_drill_that_cannot_be_is_refused_with_the_reason_and_nothing_moves(
    commands: tuple[str, ...], why: str
) -> None:
    player = played(*commands)
    before = weights(player)
    player.play("set drill=x")
    player.play("run 1m")
    assert (drill(player).reason, drill(player).message, weights(player)) == ("DrillRefused", why, before)
    assert told(player) == ["DrillRefused"]


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        (("operator restart", "run 1s"), "the operator was restarted in the middle of it"),
        (("run 2m",), "all traffic on version 1 was not seen in effect within 2m"),
        (("hand v2=100", "run 1s"), "somebody else wrote the route in the middle of it"),
        (("set keep-warm=0", "run 1s"), "version 1 is no longer warm and ready"),
        (("pods 1 never", "run 10s"), "version 1 is no longer warm and ready"),
        (("register 3 auc=0.96", "pin 3", "run 1s"), "cut short by Pinned"),
    ],
)
def test_a_drill_that_is_cut_short_ends_on_stable(commands: tuple[str, ...], why: str) -> None:
    player = in_the_middle(*commands)
    assert (weights(player), drill(player).message) == ({"2": 100}, why)
    assert player.world.objects[REF].status.stable is not None
    assert player.world.objects[REF].status.stable.version == "2"
    assert player.world.objects[REF].status.rehearsed is None
    assert told(player) == ["DrillStarted", "DrillFailed"]


@pytest.mark.parametrize("commands", [("pods 2 never", "run 10s"), ("errors 2 0.5", "run 5m")])
def test_where_stable_fails_in_the_middle_it_is_a_rollback(commands: tuple[str, ...]) -> None:
    player = in_the_middle("back proxies", *commands) if commands[0].startswith("errors") else in_the_middle(*commands)
    assert (weights(player), phase(player)) == ({"1": 100}, "RolledBack")


def test_the_commands_tell_of_it() -> None:
    player = played(*PROMOTED, "set drill=x", "run 1m")
    found = player.world.objects[REF]
    subject = Subject(REF, 1, found.spec, found.status)
    assert "last drill: RollbackRehearsed: version 1 had all traffic after" in explain(subject, player.world.now)
    assert "a rollback was rehearsed 20" in tell_why(gather(subject, NoData("JournalOff", "")))


def judged(player: Player) -> GateResult:
    attempt = player.world.objects[REF].status.attempt
    assert attempt is not None
    return next(result for result in attempt.gates if result.gate == "rollback:rehearsed")


@pytest.mark.parametrize(
    ("commands", "reason", "passed"),
    [
        (("set rehearsed-within=1h", "pin 2", "run 10m"), "NothingToRehearse", True),
        ((*PROMOTED, "register 3 auc=0.96", "set rehearsed-within=1h", "pin 3", "run 10m"), "NeverRehearsed", False),
        (
            (*PROMOTED, "set drill=x", "run 30m", "register 3 auc=0.96", "set rehearsed-within=1h", "pin 3", "run 10m"),
            "Rehearsed",
            True,
        ),
        (
            (*PROMOTED, "set drill=x", "run 2h", "register 3 auc=0.96", "set rehearsed-within=1h", "pin 3", "run 10m"),
            "RehearsalTooOld",
            False,
        ),
    ],
)
def test_the_rollback_gate_asks_how_old_the_rehearsal_is(commands: tuple[str, ...], reason: str, passed: bool) -> None:
    player = played(*commands)
    found = judged(player)
    assert (found.reason, found.passed, found.bound) == (reason, passed, "within 1h")
    assert phase(player) == ("Ramping" if passed else "Rejected")


def test_a_floor_asks_for_the_newer_rehearsal_and_forgets_none() -> None:
    day = timedelta(days=1)
    floors = (("a", Gates(rollback=RollbackGate())), ("b", Gates(rollback=RollbackGate(rehearsed_within=30 * day))))
    for own, held in ((None, 30), (10, 10), (90, 30)):
        gates = Gates(rollback=RollbackGate(rehearsed_within=own * day) if own else None)
        assert raise_gates(gates, floors)[0].rollback == RollbackGate(rehearsed_within=held * day)
    mine = Gates(rollback=RollbackGate(rehearsed_within=day))
    assert raise_gates(mine, floors[:1])[0].rollback == mine.rollback
