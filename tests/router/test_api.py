"""The follower as it runs in its pod: its own process, its own rights, a real API server, a real Envoy."""

import asyncio
import json
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from modelramp.router.directory import read_folder
from modelramp.router.structure import Structure, read_structure
from tests.controlplane import ApiServer
from tests.router.pod import FollowerProcess, Wire, World, followed, routed
from tests.router.rig import NAME, Rig, load, upstreams

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(120)]


@pytest.fixture
def world(api_server: ApiServer) -> World:
    """Give the test a namespace of its own."""
    return World(api_server)


async def test_a_patched_config_map_moves_the_traffic_within_a_second(world: World, tmp_path: Path) -> None:
    async with followed(world, tmp_path / "files", {"7": 100, "8": 0}) as (rig, _):
        took = [await patched(world, rig, ("8", "7")[turn % 2]) for turn in range(20)]
        sent, answered = ([1000 * pair[i] for pair in took] for i in (0, 1))
        print(
            f"\nConfigMap patch -> first answer on the new split, {len(took)} times: from the patch being sent "
            f"median {statistics.median(sent):.1f} ms, worst {max(sent):.1f} ms; from the API server's answer "
            f"median {statistics.median(answered):.1f} ms, worst {max(answered):.1f} ms"
        )
        assert statistics.median(sent) < 200
        assert max(sent) < 1000


async def patched(world: World, rig: Rig, to: str) -> tuple[float, float]:
    """Patch the weights; return seconds until the version answers: from the patch, from the API's answer."""
    away = {"7": "8", "8": "7"}[to]
    sent = time.perf_counter()
    await asyncio.to_thread(world.patch, {f"weight.v{to}": "100", f"weight.v{away}": "0"})
    answered = time.perf_counter()
    while await rig.ask() != to:
        pass
    return time.perf_counter() - sent, time.perf_counter() - answered


async def test_versions_come_and_go_through_the_api_and_no_request_fails(world: World, tmp_path: Path) -> None:
    async with followed(world, tmp_path / "files", {"7": 100}) as (rig, _):
        async with load(rig, workers=2, pace=0.005) as answers:
            for data in (
                rig.data({"7": 100, "8": 0}, {"8": 100}),
                rig.data({"7": 90, "8": 10}),
                rig.data({"7": 0, "8": 100}, stable="8"),
                rig.data({"8": 100, "9": 0}),
                rig.data({"9": 100}),
            ):
                gone = dict.fromkeys(f"{kind}.v{v}" for kind in ("weight", "mirror") for v in "789")
                await asyncio.to_thread(world.patch, gone | data)
                await rig.settled(data)
            assert await rig.ask() == "9"
        assert sum(answers.values()) > 20
        assert set(answers) <= {"7", "8", "9"}


async def test_a_typing_error_is_logged_with_its_reason_and_kept_out(world: World, tmp_path: Path) -> None:
    async with followed(world, tmp_path / "files", {"7": 90, "8": 10}) as (rig, process):
        before = await rig.running()
        await asyncio.to_thread(world.patch, {"weight.v8": "100%"})
        await process.logged("not taken")
        reasons = [line["reason"] for line in process.lines() if line["event"] == "not taken"]
        assert reasons == ["weight.v8: '100%' has a percent sign; write a whole number from 0 to 100"]
        assert await rig.running() == before


async def test_while_the_api_is_away_the_split_stays_and_then_it_follows_again(world: World, tmp_path: Path) -> None:
    async with Wire.to(world.server.url) as wire:
        world.address = wire.url
        async with followed(world, tmp_path / "files", {"7": 100, "8": 0}) as (rig, process):
            async with load(rig, workers=2, pace=0.005) as answers:
                wire.cut()
                await process.logged("API away", 3)
                await asyncio.to_thread(world.patch, {"weight.v7": "0", "weight.v8": "100"})
                assert set(answers) == {"7"}
                wire.mend()
                took = await rig.settled(rig.data({"7": 0, "8": 100}, stable="7"))
            print(f"\nAPI back -> the change made meanwhile is in Envoy: {took:.2f} s")
            assert await rig.ask() == "8"
            assert set(answers) <= {"7", "8"}
            assert took < 4.0


async def test_a_connection_that_died_without_a_word_is_noticed(world: World, tmp_path: Path) -> None:
    async with Wire.to(world.server.url) as wire:
        world.address = wire.url
        async with routed(world, tmp_path / "files", {"7": 100, "8": 0}) as rig:
            assert rig.envoy is not None
            options = (f"--admin={rig.envoy.admin}", "--watch-seconds=1")
            process = FollowerProcess(world, tmp_path / "files", *options)
            await process.logged("settled")
            wire.freeze()
            await asyncio.to_thread(world.patch, {"weight.v7": "0", "weight.v8": "100"})
            await process.logged("API away")
            wire.mend()
            await rig.settled(rig.data({"7": 0, "8": 100}, stable="7"))
            assert process.stop() == 0


async def test_a_deleted_config_map_changes_nothing_and_a_new_one_counts(world: World, tmp_path: Path) -> None:
    async with followed(world, tmp_path / "files", {"7": 100, "8": 0}) as (rig, process):
        await asyncio.to_thread(world.delete)
        await process.logged("no ConfigMap")
        assert await rig.shares(80) == {"7": 80}
        await asyncio.to_thread(world.create, rig.data({"7": 0, "8": 100}, stable="7"))
        await rig.settled(rig.data({"7": 0, "8": 100}, stable="7"))


async def test_a_follower_killed_in_the_middle_of_changes_goes_on_when_it_is_back(world: World, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    async with routed(world, directory, {"7": 100, "8": 0}) as rig:
        assert rig.envoy is not None
        data = [rig.data({"8": 50, "9": 50}), rig.data({"7": 100, "8": 0})]
        async with load(rig, workers=2, pace=0.005) as answers:
            for turn in range(4):
                process = FollowerProcess(world, directory, f"--admin={rig.envoy.admin}")
                await process.logged("seen")
                gone = dict.fromkeys(f"{kind}.v{v}" for kind in ("weight", "mirror") for v in "789")
                await asyncio.to_thread(world.patch, gone | data[turn % 2])
                await asyncio.sleep(0.004 * turn)
                process.stop(signal.SIGKILL)
                files = [read_folder(directory / folder) or {} for folder in ("rds", "cds")]
                assert isinstance(read_structure(files[0] | files[1]), Structure), "what is left is whole"
            process = FollowerProcess(world, directory, f"--admin={rig.envoy.admin}")
            await process.logged("settled")  # Envoy may run it already, and the follower not yet
            await rig.settled(data[1])
            assert process.stop() == 0
        assert set(answers) <= {"7", "8", "9"}


async def test_the_watch_ends_by_itself_and_nothing_is_missed(world: World, tmp_path: Path) -> None:
    async with routed(world, tmp_path / "files", {"7": 100, "8": 0}) as rig:
        assert rig.envoy is not None
        options = (f"--admin={rig.envoy.admin}", "--watch-seconds=1")
        process = FollowerProcess(world, tmp_path / "files", *options)
        await process.logged("settled")
        for turn in range(6):
            await asyncio.sleep(0.4)  # so that some changes fall between two watches
            to, away = ("8", "7") if turn % 2 == 0 else ("7", "8")
            await asyncio.to_thread(world.patch, {f"weight.v{to}": "100", f"weight.v{away}": "0"})
            await rig.settled(rig.data({"7": 0, "8": 0} | {to: 100}, stable="7"))
        assert process.stop() == 0
        assert not [line for line in process.lines() if line["event"] == "API away"]


async def test_the_init_container_waits_for_a_config_map_that_is_good(world: World, tmp_path: Path) -> None:
    async with upstreams(("7",)) as servers, aiohttp.ClientSession() as session:
        data = Rig(tmp_path, servers, session).data({"7": 100})
        first = FollowerProcess(world, tmp_path / "files", "--once")
        await first.logged("no ConfigMap")
        world.create(data | {"rds.yaml": data["rds.yaml"][:100]})
        await first.logged("not taken")
        assert not (tmp_path / "files" / "rds").exists()
        world.patch({"rds.yaml": data["rds.yaml"]})
        assert await asyncio.to_thread(first.process.wait, 10) == 0
        assert read_folder(tmp_path / "files" / "rds") == {"rds.yaml": data["rds.yaml"]}


def test_the_follower_may_read_its_config_map_and_nothing_else(world: World) -> None:
    token = world.follower().token
    world.create({})
    selected = f"{world.config_maps}?fieldSelector=metadata.name%3D{NAME}-traffic"
    assert len(world.server.request("GET", selected, token=token)["items"]) == 1
    refused = [
        ("GET", world.config_maps),
        ("GET", f"{world.config_maps}/kube-root-ca.crt"),
        ("GET", f"/api/v1/namespaces/{world.namespace}/secrets"),
        ("DELETE", f"{world.config_maps}/{NAME}-traffic"),
    ]
    for method, path in refused:
        with pytest.raises(OSError, match="403"):
            world.server.request(method, path, token=token)


def test_the_routers_pods_pass_the_restricted_standard(world: World) -> None:
    deployment = next(each for each in world.objects if each["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    pod = {"metadata": template["metadata"] | {"name": "router"}, "spec": template["spec"]}
    pods = f"/api/v1/namespaces/{world.namespace}/pods"
    made = world.server.request("POST", f"{pods}?dryRun=All&fieldValidation=Strict", pod)
    assert [c["name"] for c in made["spec"]["containers"]] == ["envoy", "follower"]
    assert made["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
    with pytest.raises(OSError, match="403"):
        world.server.request("POST", f"{pods}?dryRun=All", unrestricted(pod))


def unrestricted(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the pod as root: what proves that the standard is enforced here."""
    changed: dict[str, Any] = json.loads(json.dumps(pod))
    changed["spec"]["securityContext"]["runAsNonRoot"] = False
    changed["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] = False
    return changed
