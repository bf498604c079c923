"""The story is whole: every decision is written down once, with what it rests on and on whose word, within bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modelramp import __version__
from modelramp.adapters.authors import spec_managers
from modelramp.api import dump_status
from modelramp.rollout.archive import HISTORY, HISTORY_BYTES, OUTBOX, OUTBOX_BYTES, address, shelve, size
from modelramp.rollout.observation import Failed, NoData, Posted, Split, Value
from modelramp.rollout.record import LONGEST_MESSAGE, plan_hash
from modelramp.rollout.status import Finding, Pin, Record, Status, VerdictKind
from tests.scenarios.player import REF, Player

START = ("register 1 auc=0.93", "register 2 auc=0.95", "create 1", "run 1m", "set shadow=none")


def played(*commands: str) -> Player:
    player = Player()
    for command in (*START, *commands):
        player.play(command)
    return player


def history(player: Player) -> tuple[Record, ...]:
    return player.world.objects[REF].status.history


def told(player: Player, event: str, version: str = "2") -> Record:
    """Return the one record of an event."""
    (found,) = [record for record in history(player) if (record.event, record.version) == (event, version)]
    return found


def test_a_promotion_is_written_down_decision_by_decision() -> None:
    player = played("pin 2", "run 9h")
    assert [(record.event, record.version, record.phase, record.weight) for record in history(player)] == [
        ("AttemptStarted", "1", "Gating", 0),
        ("GatesPassed", "1", "Starting", 0),
        ("Promoted", "1", "Promoted", 0),
        ("AttemptStarted", "2", "Gating", 0),
        ("GatesPassed", "2", "Starting", 0),
        *[("StepStarted", "2", "Ramping", weight) for weight in (1, 10, 50, 100)],
        ("Promoted", "2", "Promoted", 0),
    ]
    assert len({record.id for record in history(player)}) == len(history(player)), "no two have one name"


def test_a_record_says_which_files_by_which_plan_by_which_operator() -> None:
    player = played("pin 2", "run 9h")
    promoted = told(player, "Promoted")
    assert promoted.pin == Pin("2", "run2", "models:/m-2", "sha256:2", "1")
    assert (promoted.operator, promoted.stable) == (__version__, "2")
    attempt = player.world.objects[REF].status.attempt
    assert attempt is not None
    assert (promoted.attempt, promoted.plan) == (attempt.id, plan_hash(attempt.plan))
    assert promoted.plan != told(player, "Promoted", "1").plan, "the plan was edited in between"


def test_a_record_names_the_business_rules_in_force() -> None:
    player = played("set policy=rules", "policy rules aaa", "run 1m", "policy rules bbb", "run 1m", "pin 2", "run 1m")
    changed = [record for record in history(player) if record.event == "PolicyChanged"]
    assert [record.policy for record in changed] == ["aaa", "bbb"]
    assert told(player, "AttemptStarted").policy == "bbb"
    assert told(player, "Promoted", "1").policy == "", "there were none"


def test_gates_leave_each_check_with_its_values() -> None:
    evidence = {found.check: found for found in told(played("pin 2", "run 2m"), "GatesPassed").evidence}
    judged = {"name", "ready", "run", "deprecated", "sunset", "signature", "compatibility", "metric:auc"}
    assert set(evidence) == {f"gate {name}" for name in judged}
    assert evidence["gate metric:auc"].verdict is VerdictKind.PASS
    assert "0.95" in evidence["gate metric:auc"].message


def test_a_step_leaves_how_long_it_was_held_on_how_many_requests_with_which_verdicts() -> None:
    second = next(found for found in history(played("pin 2", "run 2h")) if found.step == "2/4")
    held, requests, errors = second.evidence
    assert (held.check, held.verdict, held.min) == ("hold", VerdictKind.PASS, 3600)
    assert held.value is not None
    assert 3600 <= held.value < 3601
    assert (requests.check, requests.min) == ("requests", 2000)
    assert requests.value is not None
    assert requests.value >= 2000
    assert (errors.check, errors.verdict, errors.value, errors.max) == ("guardrail errors", VerdictKind.PASS, 0.0, 0.05)
    assert errors.samples is not None
    assert errors.samples >= 3
    assert "{{version}}" in errors.query


def test_a_rollback_leaves_the_value_that_broke_the_bound() -> None:
    back = told(played("errors 2 0.3 from 10", "pin 2", "run 2h"), "RolledBack")
    (broken,) = [found for found in back.evidence if found.verdict is VerdictKind.FAIL]
    assert (broken.check, broken.value, broken.max, broken.failures) == ("guardrail errors", 0.3, 0.05, 2)
    (short,) = [found for found in back.evidence if found.check == "hold"]
    assert (short.verdict, short.reason) == (VerdictKind.INCONCLUSIVE, "NotReached"), "the step had not run its time"
    assert (back.reason, back.phase, back.stable, back.by) == ("GuardrailFailed", "RolledBack", "1", "")


@pytest.mark.parametrize(
    ("field", "commands", "event"),
    [
        ("model.version", ("pin 2", "run 1m"), "AttemptStarted"),
        ("abort", ("pin 2", "run 5m", "set abort=2", "run 1m"), "Aborted"),
        ("paused", ("pin 2", "run 5m", "set paused=true", "run 1m"), "Paused"),
        ("paused", ("pin 2", "run 5m", "set paused=true", "run 1m", "set paused=false", "run 1m"), "Resumed"),
        ("approve", ("set approval=1", "pin 2", "run 2h", "set approve=2/1", "run 1m"), "Approved"),
    ],
)
def test_a_record_names_the_manager_of_the_field_that_asked(field: str, commands: tuple[str, ...], event: str) -> None:
    player = Player()
    for command in START:
        player.play(command)
    player.world.objects[REF].managers = {"model.version": "argocd", "": "somebody", field: f"the {field} writer"}
    for command in commands:
        player.play(command)
    assert told(player, event).by == f"the {field} writer"


def test_a_hand_at_the_route_is_named() -> None:
    player = played("pin 2", "run 5m", "hand v1=100 v2=0", "run 1m")
    assert told(player, "ManualRollback", "1").by.startswith("kubectl-patch")


def test_a_pause_of_a_day_is_one_record() -> None:
    player = played("pin 2", "run 5m", "set paused=true", "run 24h", "operator restart", "run 1h")
    assert [record.event for record in history(player)].count("Paused") == 1


def test_the_history_keeps_the_newest_and_stays_within_its_bytes() -> None:
    tries = [("set abort=2", "run 1m", "set abort=none", f"set retry={number}", "run 2m") for number in range(6)]
    player = played("pin 2", "run 2m", *[command for one in tries for command in one])
    kept = history(player)
    assert len(kept) == HISTORY
    assert kept[-1].evidence
    assert sum(map(size, kept)) <= HISTORY_BYTES


def test_what_records_rest_on_goes_before_what_was_decided() -> None:
    large = Finding("guardrail x", VerdictKind.PASS, message="m" * 1000, query="q" * 1000)
    records = tuple(
        Record(datetime(2026, 1, 1, hour, tzinfo=UTC), "1", "StepStarted", "s" * LONGEST_MESSAGE, evidence=(large,) * 3)
        for hour in range(HISTORY + 4)
    )
    kept: tuple[Record, ...] = ()
    for record in records:
        kept = shelve(kept, (record,))
    assert [record.at for record in kept] == [record.at for record in records[-HISTORY:]]
    assert not kept[0].evidence
    stored = json.dumps(dump_status(Status(history=kept))["history"])
    assert len(stored) < HISTORY_BYTES * 1.3
    sparse = tuple(replace(record, message="") for record in records)
    assert shelve((), sparse)[-1].evidence, "the newest is whole where there is room"


def test_managers_are_those_of_the_spec_the_newest_of_each_field() -> None:
    managed = [
        {"manager": "argocd", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:model": {"f:version": {}}}}},
        {"manager": "kubectl", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:spec": {"f:approve": {}}}},
        {"manager": "old", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:model": {"f:version": {}}}}},
        {"manager": "modelramp", "time": "2026-01-09T00:00:00Z", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "labeller", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
    ]
    assert spec_managers(managed) == {"model.version": "argocd", "approve": "kubectl", "": "kubectl"}


def waiting(count: int, versions: int = 3) -> tuple[Record, ...]:
    events = ("AttemptStarted", "RolledBack", "ManualRollback")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return tuple(
        Record(
            start + timedelta(minutes=number),
            str(number % versions),
            events[number // versions % 3],
            "because " * 20,
            id=str(number),
            evidence=(Finding("guardrail errors", VerdictKind.FAIL, value=0.3, max=0.05),),
        )
        for number in range(count)
    )


def posted(records: tuple[Record, ...]) -> tuple[Record, ...]:
    outbox: tuple[Record, ...] = ()
    for record in records:
        outbox = address(outbox, (record,), Failed("RegistryUnreachable", ""))
    return outbox


@pytest.mark.parametrize("versions", [3, 1000])
def test_a_registry_that_is_away_for_long_loses_no_decision(versions: int) -> None:
    made = waiting(1000, versions)
    kept = posted(made)
    assert len(kept) <= OUTBOX
    assert sum(map(size, kept)) <= OUTBOX_BYTES
    assert sum(record.times or 1 for record in kept) == len(made), "each is said, alone or among others"
    assert kept[-20:] == made[-20:], "the newest are whole"
    if versions < OUTBOX:
        assert {(record.version, record.event) for record in kept} == {(each.version, each.event) for each in made}


def test_what_the_registry_has_leaves_the_outbox_and_nothing_else_does() -> None:
    first, second, third = waiting(3)
    seen = Value(Posted(frozenset({first.id, "of another life"})))
    assert address((first, second), (third,), seen) == (second, third)
    assert address((first, second), (), None) == (first, second)
    assert address((first, second), (third,), NoData("JournalOff", "")) == ()


def test_the_registry_gets_every_record_once_it_is_back_and_traffic_never_waited() -> None:
    player = played("pin 2", "run 2h", "away registry", "errors 2 0.3 from 10", "run 2h", "operator restart", "run 1h")
    status = player.world.objects[REF].status
    assert (status.phase.value, status.stable and status.stable.version) == ("RolledBack", "1")
    (audit,) = [found for found in status.conditions if found.type == "AuditRecorded"]
    assert (audit.status, audit.reason) == ("False", "Unreachable")
    assert [record.event for record in status.outbox] == ["RolledBack"]
    for command in ("back registry", "run 1m"):
        player.play(command)
    status = player.world.objects[REF].status
    assert status.outbox == ()
    assert tuple(player.world.records[REF].values()) == history(player)
    assert player.world.aliases[REF] == ("1", "")
    (audit,) = [found for found in status.conditions if found.type == "AuditRecorded"]
    assert (audit.status, audit.reason) == ("True", "Recorded")


@pytest.mark.parametrize("refused", ["routes", "status"])
def test_what_is_deleted_while_writes_are_refused_leaves_its_whole_story(refused: str) -> None:
    player = played("pin 2", "run 2h", f"away {refused}", "delete", "run 5m")
    assert REF not in player.world.objects
    assert [record.event for record in player.world.records[REF].values()].count("Released") == 1


def test_a_write_that_is_refused_again_and_again_keeps_no_record_from_the_registry() -> None:
    player = played("pin 2", "away routes", "run 90s")
    assert told(player, "StepStarted") in player.world.records[REF].values()
    player.play("back routes")
    player.play("run 2h")
    for command in ("away routes", "errors 2 0.3", "run 2h"):
        player.play(command)
    assert player.world.routes[REF].split != Split({"1": 100})
    assert told(player, "RolledBack") in player.world.records[REF].values()


def test_a_story_that_is_written_costs_nothing_more() -> None:
    player = played("pin 2", "run 12h")
    writes = len(player.world.writes)
    player.play("run 24h")
    assert len(player.world.writes) == writes
