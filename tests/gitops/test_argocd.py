"""Argo CD's health and buttons on ModelDeployments out of real rollouts, in a real Lua."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from modelramp.api.scalars import Approval
from tests.gitops.argocd import discover, health, press
from tests.gitops.scenes import SCENARIOS, Recorder, recorded

NAMES = sorted(path.stem for path in SCENARIOS.glob("*.txt"))
THE_FIRST = ("register 1 auc=0.93", "register 2 auc=0.95", "create 1", "run 1m", "set shadow=none")


def played(*commands: str) -> Recorder:
    player = Recorder()
    for command in (*THE_FIRST, *commands):
        player.play(command)
    return player


def conditions(state: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in state["status"].get("conditions", [])}


@pytest.mark.parametrize("name", NAMES)
def test_the_health_says_what_the_conditions_say_in_every_state_of_every_scenario(name: str) -> None:
    for state in recorded(name):
        is_behind = state["status"].get("observedGeneration") != state["metadata"]["generation"]
        is_stalled = conditions(state).get("Stalled") == "True"
        found = health(state)["status"]
        if is_behind or "deletionTimestamp" in state["metadata"]:
            assert found == "Progressing", state
        elif is_stalled or conditions(state).get("Ready") == "True":
            assert found == ("Degraded" if is_stalled else "Healthy"), state
        else:
            assert found in ("Progressing", "Suspended"), state


@pytest.mark.parametrize("name", NAMES)
def test_while_the_status_is_behind_only_a_pause_can_be_pressed(name: str) -> None:
    for state in recorded(name):
        if state["status"].get("observedGeneration") != state["metadata"]["generation"]:
            assert discover(state).keys() <= {"pause", "resume"}, state


AWAITING = 'Ramping: Step 1 of 4 (1 %): waiting for approval: set spec.approve to "2/1"'
PAUSED = "Ramping: spec.paused is true; guardrails go on watching"
BREACHED = "RolledBack: guardrail errors: 0.5 is above max 0.05"
REFUSED = "Rejected: metric:auc: auc 0.5, min 0.9; metric:auc: auc 0.5, stable's 0.93, maxDrop 0.01"
BEHIND = "waiting for Modelramp to see this version of the spec"


@pytest.mark.parametrize(
    ("commands", "status", "message"),
    [
        (["pin 2", "run 70m"], "Progressing", "Ramping: Step 2 of 4 (10 %): held for 1h"),
        (["set approval=1", "pin 2", "run 2h"], "Suspended", AWAITING),
        (["pin 2", "run 70m", "set paused=true", "run 1m"], "Suspended", PAUSED),
        (["pin 2", "run 6h"], "Healthy", "Promoted: version 2 passed every step"),
        (["pin 2", "run 70m", "errors 2 0.5", "run 1h"], "Degraded", BREACHED),
        (["register 3 auc=0.5", "pin 3", "run 1h"], "Degraded", REFUSED),
        (["pin 9", "run 1h"], "Degraded", "Gating: model fraud has no version 9"),
        (["set paused=true", "run 1m"], "Healthy", "Promoted: version 1 is ready"),
        (["pin 2"], "Progressing", BEHIND),
    ],
    ids=["ramp", "approval", "pause", "promoted", "rollback", "gate", "no version", "pause at rest", "behind"],
)
def test_the_health_in_words(commands: list[str], status: str, message: str) -> None:
    assert health(played(*commands).shown()) == {"status": status, "message": message}


def test_an_object_that_the_operator_never_saw_is_progressing() -> None:
    new = {"metadata": {"generation": 1}, "spec": {"model": {"version": "1"}}}
    assert health(new)["status"] == health(new | {"status": {}})["status"] == "Progressing"
    assert discover(new).keys() == {"pause"}


def test_an_approval_opens_the_next_step() -> None:
    player = played("set approval=1", "pin 2", "run 2h")
    assert discover(player.shown())["approve"] == "Approve 2/1"
    player.patch(press("approve", player.shown()))
    player.play("run 1m")
    assert player.state() == "Ramping Holding, stable 1, candidate 10 %"
    assert "approve" not in discover(player.shown())


def test_an_approval_that_the_button_left_in_the_spec_opens_no_step_of_a_retry() -> None:
    player = played("set approval=1", "errors 2 0.3 from 10", "pin 2", "run 2h")
    player.patch(press("approve", player.shown()))
    player.play("run 1h")
    assert player.state() == "RolledBack GuardrailFailed, stable 1, candidate 0 %"
    player.patch(press("retry", player.shown()))
    player.play("run 5h")
    assert player.state() == "Ramping AwaitingApproval, stable 1, candidate 1 %"
    asked = discover(player.shown())["approve"].removeprefix("Approve ")
    assert asked.startswith("2/1/2-")
    assert TypeAdapter(Approval).validate_python(asked) == asked
    player.patch(press("approve", player.shown()))
    player.play("run 1m")
    assert player.state() == "Ramping Holding, stable 1, candidate 10 %"


def test_the_button_of_a_version_older_than_all_that_are_remembered_writes_what_the_message_asks_for() -> None:
    shown = played("set approval=1", "pin 2", "run 2h").shown()
    shown["status"]["tried"] = [str(number) for number in range(60, 10, -1)]
    asked = f"2/1/{shown['status']['attempt']['id']}"
    assert discover(shown)["approve"] == f"Approve {asked}"
    assert press("approve", shown) == {"spec": {"approve": asked}}


def test_a_pause_holds_the_step_and_resuming_goes_on() -> None:
    player = played("pin 2", "run 10m")
    player.patch(press("pause", player.shown()))
    player.play("run 5h")
    assert player.state() == "Ramping Paused, stable 1, candidate 1 %"
    assert discover(player.shown()).keys() == {"resume", "abort"}
    player.patch(press("resume", player.shown()))
    player.play("run 1m")
    assert player.state() == "Ramping Holding, stable 1, candidate 10 %"


def test_an_abort_takes_the_traffic_back_and_a_retry_after_it_tries_again() -> None:
    player = played("pin 2", "run 70m")
    assert discover(player.shown())["abort"] == "Abort version 2"
    player.patch(press("abort", player.shown()))
    player.play("run 10m")
    assert player.state() == "RolledBack Aborted, stable 1, candidate 0 %"
    retry = press("retry", player.shown())
    assert retry["spec"]["abort"] is None
    player.patch(retry)
    player.play("run 10m")
    assert player.state() == "Ramping Holding, stable 1, candidate 1 %"


def test_a_rollback_gives_all_traffic_to_the_version_before() -> None:
    player = played("pin 2", "run 6h")
    assert discover(player.shown())["rollback"] == "Roll back version 2"
    player.patch(press("rollback", player.shown()))
    player.play("run 1m")
    assert player.state() == "RolledBack Aborted, stable 1, candidate 0 %"
    assert health(player.shown())["status"] == "Degraded"


def test_a_retry_after_an_automatic_rollback_tries_again() -> None:
    player = played("pin 2", "run 70m", "errors 2 0.5", "run 1h", "errors 2 0")
    player.patch(press("retry", player.shown()))
    player.play("run 10m")
    assert player.state() == "Ramping Holding, stable 1, candidate 1 %"


def test_nothing_is_offered_that_would_do_nothing() -> None:
    assert discover(played().shown()).keys() == {"pause"}
    assert discover(played("pin 2", "run 70m").shown()).keys() == {"pause", "abort"}
    assert discover(played("pin 2", "run 6h").shown()).keys() == {"pause", "rollback"}
    assert discover(played("pin 2", "run 70m", "errors 2 0.5", "run 1h").shown()).keys() == {"pause", "retry"}


@pytest.mark.parametrize("action", ["approve", "pause", "abort", "rollback", "retry"])
def test_an_action_changes_only_its_own_field_of_the_spec(action: str) -> None:
    fields = {"approve": "approve", "pause": "paused", "abort": "abort", "rollback": "abort", "retry": "retry"}
    patch = press(action, played("pin 2", "run 70m").shown())
    assert patch.keys() == {"spec"}
    assert patch["spec"].keys() == {fields[action]}
