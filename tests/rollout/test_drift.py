"""What was resolved is what runs: an entry of the registry that changes behind it is told, and gets no more traffic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelramp.rollout.observation import ModelVersion, Value
from modelramp.rollout.status import Condition
from tests.rollout.test_record import played
from tests.scenarios.player import REF, Player


def condition(player: Player) -> Condition:
    found = player.world.objects[REF].status.conditions
    return next(each for each in found if each.type == "PinDrift")


def edit(player: Player, version: str, **changes: str) -> None:
    found = player.world.models["fraud", version]
    assert isinstance(found, Value)
    model: ModelVersion = replace(found.value, **changes)  # type: ignore[arg-type]
    player.world.models["fraud", version] = Value(model)


def weights(player: Player) -> dict[str, int]:
    split = player.world.routes[REF].split
    assert split is not None
    return {version: percent for version, percent in split.weights.items() if percent}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"created": "2"}, "version 2 was deleted and registered anew"),
        ({"run_id": "other"}, "version 2 has another run in the registry"),
        ({"source": "models:/m-x"}, "version 2 has another place of its files in the registry"),
    ],
)
def test_a_candidate_that_was_changed_behind_its_pin_keeps_its_traffic_and_gets_no_more(
    changes: dict[str, str], said: str
) -> None:
    player = played("pin 2", "run 5m")
    assert weights(player) == {"1": 99, "2": 1}
    edit(player, "2", **changes)
    player.play("run 24h")
    assert weights(player) == {"1": 99, "2": 1}
    assert player.world.objects[REF].status.reason == "PinDrift"
    assert (condition(player).status, condition(player).message) == ("True", said)
    assert [event.message for _, _, event in player.world.events if event.reason == "PinDrift"] == [said]


def test_a_candidate_that_was_deleted_goes_back_when_it_breaks() -> None:
    player = played("pin 2", "run 5m")
    del player.world.models["fraud", "2"]
    for command in ("run 2h", "errors 2 0.3", "run 5m"):
        player.play(command)
    assert weights(player) == {"1": 100}
    assert player.world.objects[REF].status.phase.value == "RolledBack"


def test_a_stable_version_that_was_deleted_serves_on() -> None:
    player = played()
    del player.world.models["fraud", "1"]
    player.play("set approve=x")
    player.play("run 24h")
    assert weights(player) == {"1": 100}
    assert player.world.objects[REF].status.phase.value == "Promoted"
    assert condition(player).message == "version 1 is no longer in the registry"


def test_a_registry_that_is_away_is_no_drift_and_takes_none_back() -> None:
    player = played("pin 2", "run 5m", "away registry", "run 3h")
    assert condition(player).status == "False"
    assert weights(player) == {"1": 50, "2": 50}
    player = played("pin 2", "run 5m")
    edit(player, "2", created="2")
    for command in ("run 1m", "away registry", "operator restart", "run 24h"):
        player.play(command)
    assert condition(player).status == "True"
    assert weights(player) == {"1": 99, "2": 1}


def test_an_entry_that_is_as_resolved_again_goes_on() -> None:
    player = played("pin 2", "run 5m")
    gone = player.world.models.pop(("fraud", "2"))
    player.play("run 3h")
    player.world.models["fraud", "2"] = gone
    player.play("run 24h")
    assert weights(player) == {"2": 100}
    assert condition(player).status == "False"
