"""The follower and a real Envoy: changes under load, typing errors, refusals, crashes."""

import asyncio
import random
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from modelramp.router.directory import read_folder
from tests.router.rig import Rig, eventually, load, rigged, running_envoy


async def test_weights_reach_envoy_within_milliseconds(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        took = []
        for turn in range(20):
            to = ("8", "7")[turn % 2]
            took.append(await swapped(rig, to))
        milliseconds = sorted(1000 * t for t in took)
        print(
            f"\nConfigMap in hand -> first answer on the new split: median {statistics.median(milliseconds):.1f} "
            f"ms, worst {milliseconds[-1]:.1f} ms of {len(took)}"
        )
        assert statistics.median(took) < 0.1


async def swapped(rig: Rig, to: str) -> float:
    """Send all traffic to a version; return the seconds until it answers."""
    begin = time.perf_counter()
    rig.put(rig.data({"7": 0, "8": 0} | {to: 100}, stable="7"))
    while await rig.ask() != to:
        pass
    return time.perf_counter() - begin


async def test_versions_come_and_go_under_load_and_no_request_fails(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        story = [
            rig.data({"7": 90, "8": 10}),
            rig.data({"7": 90, "8": 10, "9": 0}),
            rig.data({"7": 0, "8": 100, "9": 0}, stable="8"),
            rig.data({"8": 50, "9": 50}, {"9": 0}),
            rig.data({"7": 100}),
            rig.data({"8": 100, "9": 0}, {"9": 100}),
            rig.data({"9": 100}),
            rig.data({"7": 100, "8": 0}, {"8": 50}),
        ]
        async with load(rig) as answers:
            for data in story * 2:
                rig.put(data)
                await rig.settled(data)
                await enough(answers, sum(answers.values()) + 100)
        print(f"\n{sum(answers.values())} answers while versions came and went: {dict(answers)}")
        assert set(answers) == {"7", "8", "9"}
        assert await rig.statistic("http.ingress.rds.models.update_rejected") == 0
        assert await rig.statistic("cluster_manager.cds.update_rejected") == 0


async def enough(answers: Counter[str], count: int) -> None:
    """Wait for so many answers."""

    async def counted() -> bool:
        return sum(answers.values()) >= count

    await eventually(counted, f"{count} answers")


async def test_a_slow_answer_survives_the_removal_of_its_version(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 0, "8": 100}, stable="8")) as rig:
        rig.upstreams["8"].delay = 1.0
        slow = [asyncio.create_task(rig.ask()) for _ in range(5)]

        async def arrived() -> bool:
            return rig.upstreams["8"].live == 5

        await eventually(arrived, "5 requests at version 8")
        rig.put(rig.data({"7": 100}))
        await rig.settled(rig.data({"7": 100}))
        assert await rig.ask() == "7"
        assert not any(task.done() for task in slow)
        assert await asyncio.gather(*slow) == ["8"] * 5


TYPOS = {
    "a space": {"weight.v8": " 100", "weight.v7": "0"},
    "a percent sign": {"weight.v8": "100%", "weight.v7": "0"},
    "a word": {"weight.v8": "all", "weight.v7": "0"},
    "below zero": {"weight.v8": "110", "weight.v7": "-10"},
    "too much": {"weight.v8": "50"},
    "a version without a route": {"weight.v80": "90"},
    "no version": {"weight": "90", "weight.": "100"},
    "routes cut off": {"rds.yaml": "version_info: x\nresources:\n- '@type': type.goo"},
    "clusters gone": {"cds.yaml": ""},
    "a hexadecimal number": {"weight.v8": "0x5a", "weight.v7": "10"},
}


@pytest.mark.parametrize("typo", TYPOS)
async def test_what_a_person_mistypes_changes_nothing(tmp_path: Path, typo: str) -> None:
    good = {"7": 90, "8": 10}
    async with rigged(tmp_path, lambda rig: rig.data(good)) as rig:
        before = await rig.running()
        rig.put(rig.data(good) | TYPOS[typo])
        await at_rest(rig)
        assert await rig.running() == before
        assert set(await rig.shares(400)) == {"7", "8"}
        rig.put(rig.data({"7": 100, "8": 0}))
        await rig.settled(rig.data({"7": 100, "8": 0}))


async def at_rest(rig: Rig) -> None:
    """Wait until the follower has nothing left to do."""

    async def rests() -> bool:
        follower = rig.follower
        assert follower is not None
        return follower.proven == follower.wanted == follower.current and not follower.changed.is_set()

    await eventually(rests, "the follower is at rest")


RETREATS = {
    "the candidate to 0 and nothing else": {"weight.v8": "0"},
    "stable to 100 and nothing else": {"weight.v7": "100"},
    "the candidate's key deleted": {"weight.v8": None},
    "stable's key deleted": {"weight.v7": None},
    "both, with routes that are broken": {"weight.v7": "100", "weight.v8": "0", "rds.yaml": "["},
    "both, with a mirror that is broken": {"weight.v7": "100", "weight.v8": "0", "mirror.v8": "off"},
}


@pytest.mark.parametrize("retreat", RETREATS)
async def test_a_hasty_move_towards_stable_is_understood(tmp_path: Path, retreat: str) -> None:
    good = {"7": 60, "8": 40}
    async with rigged(tmp_path, lambda rig: rig.data(good)) as rig:
        typed = {k: v for k, v in (rig.data(good) | RETREATS[retreat]).items() if v is not None}
        rig.put(typed)
        await rig.settled(rig.data({"7": 100, "8": 0}))
        assert await rig.shares(160) == {"7": 160}


async def test_what_envoy_refuses_is_taken_back_and_the_numbers_still_count(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 60, "8": 40})) as rig:
        data = rig.data({"7": 60, "8": 40})
        routes = yaml.safe_load(data["rds.yaml"])
        routes["resources"][0]["virtual_hosts"][0]["domains"] = ["*", "*"]
        rig.put(data | {"rds.yaml": yaml.safe_dump(routes), "weight.v7": "100", "weight.v8": "0"})
        await rig.settled(rig.data({"7": 100, "8": 0}))

        async def refused() -> bool:
            files = read_folder(tmp_path / "rds") or {}
            seen = await rig.statistic("http.ingress.rds.models.update_(rejected|failure)")
            return files.get("rds.yaml") == data["rds.yaml"] and seen > 0

        await eventually(refused, "Envoy refused, and the old routes are back in the folder")
        assert await rig.shares(160) == {"7": 160}
        rig.put(rig.data({"7": 0, "8": 0, "9": 100}, stable="9"))
        await rig.settled(rig.data({"7": 0, "8": 0, "9": 100}, stable="9"))


async def test_an_edited_structure_is_taken_though_its_version_was_not_changed(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100})) as rig:
        data = rig.data({"7": 100})
        edited = data["rds.yaml"].replace("timeout: 30.000s", "timeout: 5.000s")
        assert edited != data["rds.yaml"]
        rig.put(data | {"rds.yaml": edited})

        async def reloaded() -> bool:
            return await rig.statistic("http.ingress.rds.models.config_reload") == 2

        await eventually(reloaded, "Envoy loads the edited routes")


async def test_when_the_config_map_is_deleted_the_last_split_stays(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 0, "8": 100}, stable="7")) as rig:
        rig.put(None)
        await at_rest(rig)
        assert await rig.shares(80) == {"8": 80}


async def test_a_swap_while_envoy_is_down_is_what_envoy_starts_with(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        assert rig.envoy is not None
        rig.envoy.process.kill()
        rig.envoy.process.wait()
        rig.put(rig.data({"7": 0, "8": 100}, stable="7"))

        async def written() -> bool:
            return (read_folder(tmp_path / "runtime") or {}).get("weight.v8") == "100"

        await eventually(written, "the new weights are in the folder")
        async with running_envoy(rig.session, tmp_path) as rig.envoy:
            assert await rig.shares(80) == {"8": 80}


async def test_whatever_the_config_map_says_envoy_serves_the_last_valid_of_it(tmp_path: Path) -> None:
    """Twenty histories of good and bad ConfigMaps, put at random moments, under load."""
    dice = random.Random(20261123)
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0})) as rig:
        async with load(rig, workers=3) as answers:
            for _ in range(20):
                valid = await one_history(rig, dice)
                await rig.settled(valid)
                await enough(answers, sum(answers.values()) + 10)
        print(f"\n{sum(answers.values())} answers over 20 histories: {dict(answers)}")
        assert set(answers) <= {"7", "8", "9"}


async def one_history(rig: Rig, dice: random.Random) -> dict[str, str]:
    """Put some ConfigMaps, sometimes before the follower is done with the last; return the last valid one."""
    valid: dict[str, str] = {}
    for _ in range(dice.randint(2, 6)):
        valid = random_valid(rig, dice)
        rig.put(valid)
        await asyncio.sleep(dice.choice((0, 0.001, 0.02)))
    if dice.random() < 0.7:
        rig.put(valid | {key: "nonsense" for key in valid if not dice.randint(0, 2)} | {"weight.v8": "1e2"})
    return valid


def random_valid(rig: Rig, dice: random.Random) -> dict[str, str]:
    """Return a ConfigMap that is as it should be."""
    versions = sorted(dice.sample(("7", "8", "9"), dice.randint(1, 3)))
    heavy = dice.choice(versions)
    share = dice.choice((0, 1, 10, 50))
    split = dict.fromkeys(versions, 0) | {heavy: 100 - share}
    split[dice.choice(versions)] += share
    mirror = {dice.choice(versions): dice.choice((0, 10, 100))}
    return rig.data(split, mirror, stable=dice.choice(versions), versions=versions)
