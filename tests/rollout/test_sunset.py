"""A date on which a version is not to be used any more is told a month ahead and after, and moves nothing by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelramp.adapters.world import BEGINNING
from modelramp.rollout.observation import Value
from modelramp.rollout.status import Condition
from tests.rollout.test_record import played
from tests.scenarios.player import REF, Player

DAY = timedelta(days=1)
TOLD = ("SunsetNear", "SunsetPassed", "SunsetOverdue", "SunsetUnreadable")


def day(after: int) -> str:
    """Return a date, in days after the story's first."""
    return f"{BEGINNING + after * DAY:%Y-%m-%d}"


def serving(sunset: str | None) -> Player:
    """Return a player whose version 1 serves, and has got a date since; no guardrail wakes it, time alone does."""
    player = played()
    edit(player, plan=replace(player.world.objects[REF].spec.plan, guardrails=()))
    date(player, sunset)
    return player


def edit(player: Player, **changes: object) -> None:
    player.world.edit(REF, replace(player.world.objects[REF].spec, **changes))  # type: ignore[arg-type]


def date(player: Player, sunset: str | None, version: str = "1") -> None:
    found = player.world.models["fraud", version]
    assert isinstance(found, Value)
    others = {key: value for key, value in found.value.tags.items() if key != "sunset_on"}
    tags = {**others, **({"sunset_on": sunset} if sunset is not None else {})}
    player.world.models["fraud", version] = Value(replace(found.value, tags=tags))
    wake(player)


def wake(player: Player) -> None:
    """Wake the object, as the hourly look at the registry does when it brings news."""
    edit(player, retry=f"{player.world.objects[REF].spec.retry}x")
    player.play("run 1m")


def condition(player: Player) -> Condition | None:
    found = player.world.objects[REF].status.conditions
    return next((each for each in found if each.type == "Sunset"), None)


def outlook(player: Player) -> tuple[str, str]:
    found = condition(player)
    assert found is not None
    return found.status, found.reason


def told(player: Player) -> list[str]:
    return [event.reason for _, _, event in player.world.events if event.reason in TOLD]


def serves(player: Player) -> bool:
    split = player.world.routes[REF].split
    return split is not None and dict(split.weights) == {"1": 100}


def test_each_stage_of_a_date_is_told_once_at_its_own_moment_and_nothing_moves() -> None:
    player = serving(day(60))
    assert outlook(player) == ("False", "SunsetAhead")
    seen = {}
    for at in range(1, 121):
        player.play("run 24h")
        seen[at] = outlook(player)
    assert [seen[29], seen[30]] == [("False", "SunsetAhead"), ("True", "SunsetNear")]
    assert [seen[59], seen[60]] == [("True", "SunsetNear"), ("True", "SunsetPassed")]
    assert [seen[89], seen[90]] == [("True", "SunsetPassed"), ("True", "SunsetOverdue")]
    assert told(player) == ["SunsetNear", "SunsetPassed", "SunsetOverdue"]
    assert serves(player)
    assert player.world.objects[REF].status.phase.value == "Promoted"


@pytest.mark.parametrize(
    ("sunset", "expected", "words"),
    [
        (None, ("False", "NoSunset"), "version 1 has no tag sunset_on"),
        (day(31), ("False", "SunsetAhead"), f"version 1 has the tag sunset_on: {day(31)}"),
        (day(29), ("True", "SunsetNear"), f"version 1 serves, and has 30 days or less by its tag sunset_on: {day(29)}"),
        (day(0), ("True", "SunsetPassed"), f"version 1 serves, and the date of its tag sunset_on: {day(0)} has passed"),
        (day(-31), ("True", "SunsetOverdue"), f"version 1 serves, 30 days or more after its tag sunset_on: {day(-31)}"),
        (
            "soon",
            ("Unknown", "SunsetUnreadable"),
            "version 1 has the tag sunset_on: 'soon', no date such as 2027-12-31",
        ),
        (
            "0001-01-01",
            ("True", "SunsetOverdue"),
            "version 1 serves, 30 days or more after its tag sunset_on: 0001-01-01",
        ),
        ("9999-12-31", ("False", "SunsetAhead"), "version 1 has the tag sunset_on: 9999-12-31"),
    ],
)
def test_the_condition_says_how_near_the_date_is(sunset: str | None, expected: tuple[str, str], words: str) -> None:
    player = serving(sunset)
    found = condition(player)
    assert found is not None
    assert ((found.status, found.reason), found.message) == (expected, words)
    assert told(player) == ([expected[1]] if expected[1] in TOLD else [])
    assert serves(player)


def test_a_date_that_is_removed_takes_the_warning_back_and_one_that_is_moved_is_told_anew() -> None:
    player = serving(day(10))
    date(player, day(20))
    assert told(player) == ["SunsetNear", "SunsetNear"]
    date(player, None)
    assert outlook(player) == ("False", "NoSunset")
    date(player, day(90))
    assert outlook(player) == ("False", "SunsetAhead")
    assert told(player) == ["SunsetNear", "SunsetNear"]


def test_a_registry_that_is_away_leaves_what_was_said_also_across_a_restart() -> None:
    player = serving(day(10))
    player.play("away registry")
    player.play("operator restart")
    wake(player)
    assert outlook(player) == ("True", "SunsetNear")
    player.play("back registry")
    wake(player)
    assert told(player) == ["SunsetNear"]


def test_a_registry_that_was_away_since_the_version_serves_is_said_to_be_unknown() -> None:
    player = played("pin 2", "run 5m")
    date(player, day(1), "2")
    player.play("away registry")
    player.play("run 6h")
    found = condition(player)
    assert found is not None
    assert (found.status, player.world.objects[REF].status.phase.value) == ("Unknown", "Promoted")
    assert told(player) == []


def test_only_the_version_that_serves_is_warned_of() -> None:
    player = played("pin 2", "run 5m")
    date(player, day(10), "2")
    assert outlook(player) == ("False", "NoSunset")
    player.play("run 6h")
    assert outlook(player) == ("True", "SunsetNear")
    assert told(player) == ["SunsetNear"]
    player.play("pin 1")
    player.play("run 10m")
    assert outlook(player) == ("False", "NoSunset")
