"""The route on a real API server: what is fenced, what is not stopped, what is left alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from modelramp.adapters.kinds import CONFIG_MAP, DEPLOYMENT, EPOCH, SERVICE, WRITTEN
from modelramp.ports import Conflict, Deposed, Done, Rollout
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Failed, NoData, Route, Split, Value
from modelramp.rollout.spec import ConfigMapTraffic
from modelramp.rollout.status import Status
from tests.adapters.real import Process, RealCluster, pin, read

pytestmark = pytest.mark.apiserver
NAME = "fraud-detector"
ALL_ON_7 = SetTraffic(Split({"7": 100}), "7", ("7", "8"), retreat=True, why="retreat 8-a errors")
TENTH_ON_8 = SetTraffic(Split({"7": 90, "8": 10}), "7", ("7", "8"), retreat=False, why="step 2")
HALF_ON_8 = SetTraffic(Split({"7": 50, "8": 50}), "7", ("7", "8"), retreat=False, why="step 3")


@pytest.fixture
async def ramping(real: RealCluster) -> tuple[Process, Rollout]:
    """Give a process that has just written 90/10, and its object."""
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    rollout = replace(rollout, status=Status(stable=pin("7"), candidate=pin("8")))
    assert await process.traffic.write(rollout, TENTH_ON_8) == Done()
    return process, rollout


async def stored(real: RealCluster) -> dict[str, str]:
    """Return the numbers in the API server."""
    config_map = await real.get(CONFIG_MAP, f"{NAME}-traffic")
    return {key: value for key, value in config_map["data"].items() if not key.endswith(".yaml")}


async def route(process: Process, rollout: Rollout) -> Route:
    found = await process.traffic.read(rollout)
    assert isinstance(found, Value)
    return found.value


async def test_the_first_write_makes_the_route_and_all_that_carries_it(
    real: RealCluster, ramping: tuple[Process, Rollout]
) -> None:
    assert await stored(real) == {"weight.v7": "90", "weight.v8": "10", "mirror.v7": "0", "mirror.v8": "0"}
    deployment = await real.get(DEPLOYMENT, f"{NAME}-router")
    assert deployment["metadata"]["ownerReferences"][0]["name"] == NAME
    assert (await real.get(SERVICE, NAME))["spec"]["ports"][0]["targetPort"] == "http"
    assert (await route(*ramping)).current


async def test_what_is_already_stored_is_not_written_again(real: RealCluster, ramping: tuple[Process, Rollout]) -> None:
    process, rollout = ramping
    before = await real.get(CONFIG_MAP, f"{NAME}-traffic")
    assert await process.traffic.write(rollout, replace(TENTH_ON_8, why="again")) == Done()
    assert (await real.get(CONFIG_MAP, f"{NAME}-traffic"))["metadata"] == before["metadata"]


async def test_progress_loses_against_a_hand_and_then_knows_of_it(
    real: RealCluster, ramping: tuple[Process, Rollout]
) -> None:
    process, rollout = ramping
    await real.edit_numbers(NAME, {"weight.v7": "100", "weight.v8": "0"})
    assert isinstance(await process.traffic.write(rollout, HALF_ON_8), Conflict)
    assert (await stored(real))["weight.v8"] == "0"
    seen = await route(process, rollout)
    assert seen.split == Split({"7": 100, "8": 0}, {"7": 0, "8": 0})
    assert seen.written == Split({"7": 90, "8": 10})
    assert seen.author.startswith("kubectl-patch at 20")


async def test_a_retreat_wins_against_a_hand(real: RealCluster, ramping: tuple[Process, Rollout]) -> None:
    process, rollout = ramping
    await real.edit_numbers(NAME, {"weight.v7": "0", "weight.v8": "100", "notes": "mine"})
    assert await process.traffic.write(rollout, ALL_ON_7) == Done()
    assert await stored(real) == {
        "weight.v7": "100", "weight.v8": "0", "mirror.v7": "0", "mirror.v8": "0", "notes": "mine",
    }  # fmt: skip


@pytest.mark.parametrize("numbers", [{"weight.v7": "0", "weight.v8": "100"}, {"weight.v9": "50"}])
async def test_a_retreat_is_one_call_however_old_what_it_knows(
    real: RealCluster, ramping: tuple[Process, Rollout], numbers: dict[str, str]
) -> None:
    process, rollout = ramping
    await real.edit_numbers(NAME, numbers)
    if "weight.v9" in numbers:  # a number without a route must be known to be taken away
        await process.writer.refresh(CONFIG_MAP, real.namespace, f"{NAME}-traffic")
    await real.merge(CONFIG_MAP, f"{NAME}-traffic", {"metadata": {"annotations": {"note": "later"}}})
    real.calls.clear()
    assert await process.traffic.write(rollout, ALL_ON_7) == Done()
    assert real.calls == ["PATCH"]
    assert await stored(real) == {"weight.v7": "100", "weight.v8": "0", "mirror.v7": "0", "mirror.v8": "0"}


@contextlib.asynccontextmanager
async def adversaries(real: RealCluster, count: int, pause: float) -> AsyncIterator[list[int]]:
    """Write the ConfigMap all the time; the list counts the writes."""
    writes: list[int] = []

    async def write() -> None:
        while True:
            body = {"metadata": {"annotations": {"adversary": str(len(writes))}}}
            await real.cluster.patch(CONFIG_MAP, real.namespace, f"{NAME}-traffic", body)
            writes.append(1)
            await asyncio.sleep(pause)

    tasks = [asyncio.create_task(write()) for _ in range(count)]
    try:
        yield writes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("count", "pause"), [(1, 0.02), (3, 0.0)])
async def test_adversaries_that_never_rest_cannot_stop_a_retreat(
    real: RealCluster, ramping: tuple[Process, Rollout], count: int, pause: float
) -> None:
    process, rollout = ramping
    took = []
    async with adversaries(real, count, pause) as writes:
        for _ in range(20):
            await real.edit_numbers(NAME, {"weight.v7": "50", "weight.v8": "50"})
            await process.writer.refresh(CONFIG_MAP, real.namespace, f"{NAME}-traffic")
            begin = asyncio.get_running_loop().time()
            assert await process.traffic.write(rollout, ALL_ON_7) == Done()
            took.append(asyncio.get_running_loop().time() - begin)
            assert (await stored(real))["weight.v8"] == "0"
    assert len(writes) > 10
    assert max(took) < 1.0, f"a retreat took {max(took):.3f} s"


async def test_a_deposed_leaders_late_write_is_refused(real: RealCluster, ramping: tuple[Process, Rollout]) -> None:
    old, rollout = ramping
    new = real.process(epoch=2)
    assert await new.traffic.write(rollout, HALF_ON_8) == Done()
    # `old` has not noticed: it believes to lead, and its store still holds its own 90/10.
    assert old.lease.held()
    assert await old.traffic.write(rollout, ALL_ON_7) == Deposed()
    assert await old.traffic.write(rollout, TENTH_ON_8) == Deposed()
    assert (await stored(real))["weight.v8"] == "50"
    config_map = await real.get(CONFIG_MAP, f"{NAME}-traffic")
    assert config_map["metadata"]["annotations"][EPOCH] == "2"


async def test_without_the_lease_nothing_is_sent(real: RealCluster, ramping: tuple[Process, Rollout]) -> None:
    process, rollout = ramping
    process.lease.leading = False
    assert await process.traffic.write(rollout, ALL_ON_7) == Deposed()
    assert (await stored(real))["weight.v8"] == "10"


async def test_a_new_leader_marks_a_route_with_a_candidate_as_its_own(
    real: RealCluster, ramping: tuple[Process, Rollout]
) -> None:
    _, rollout = ramping
    new = real.process(epoch=2)
    assert not (await route(new, rollout)).current
    assert await new.traffic.write(rollout, TENTH_ON_8) == Done()
    assert (await route(new, rollout)).current
    settled = replace(rollout, status=Status(stable=pin("7")))
    assert (await route(real.process(epoch=3), settled)).split is not None


async def test_what_is_not_ours_stays_byte_for_byte(real: RealCluster, ramping: tuple[Process, Rollout]) -> None:
    process, rollout = ramping
    foreign = {
        "metadata": {
            "labels": {"team": "fraud"},
            "annotations": {"note": 'ü "quoted"\n\ttext', "kubernetes.io/description": "x" * 300},
            "finalizers": ["example.com/keep"],
        },
        "data": {"policy.json": '{"threshold": 0.7}\n', "empty": ""},
        "binaryData": {"blob": "AAEC"},
    }
    await real.merge(CONFIG_MAP, f"{NAME}-traffic", foreign, manager="gitops")
    await process.writer.refresh(CONFIG_MAP, real.namespace, f"{NAME}-traffic")
    for wanted in (HALF_ON_8, ALL_ON_7, replace(ALL_ON_7, backends=("7",), why="drained")):
        assert await process.traffic.write(rollout, wanted) == Done()
    found = await real.get(CONFIG_MAP, f"{NAME}-traffic")
    assert found["metadata"]["labels"]["team"] == "fraud"
    assert found["metadata"]["finalizers"] == ["example.com/keep"]
    assert found["binaryData"] == foreign["binaryData"]
    for where in ("annotations",):
        assert foreign["metadata"][where].items() <= found["metadata"][where].items()  # type: ignore[index]
    assert foreign["data"].items() <= found["data"].items()
    assert "weight.v8" not in found["data"]


@pytest.mark.parametrize(
    ("numbers", "means", "complaint"),
    [
        ({"weight.v8": "0"}, Split({"7": 100, "8": 0}, {"7": 0, "8": 0}), "add up to 100, not 90"),
        ({"weight.v8": "ten"}, None, "'ten' is not a percentage"),
        ({"weight.v7": None, "weight.v8": "0"}, Split({"7": 100, "8": 0}, {"7": 0, "8": 0}), "weight.v7 is missing"),
        ({"weight.v7": "0", "weight.v8": "120"}, None, "'120' is not a percentage"),
        (
            {"weight.v7": "100", "weight.v8": "0", "weight.v9": "50"},
            Split({"7": 100, "8": 0}, {"7": 0, "8": 0}),
            "weight.v9 names a version that has no route",
        ),
        ({"rds.yaml": "nonsense"}, Split({"7": 90, "8": 10}, {"7": 0, "8": 0}), "rds.yaml"),
    ],
)
async def test_numbers_mean_what_the_router_takes_them_for(
    real: RealCluster,
    ramping: tuple[Process, Rollout],
    numbers: dict[str, str | None],
    means: Split | None,
    complaint: str,
) -> None:
    _, rollout = ramping
    await real.edit_numbers(NAME, numbers)
    later = real.process()
    seen = await route(later, rollout)
    assert seen.split == means
    assert complaint in seen.malformed
    assert await later.traffic.write(rollout, ALL_ON_7) == Done()
    repaired = await route(later, rollout)
    assert (repaired.malformed, repaired.current) == ("", True)
    assert repaired.split == Split({"7": 100, "8": 0}, {"7": 0, "8": 0})


async def test_a_route_that_lost_its_marks_is_fenced_again(real: RealCluster, ramping: tuple[Process, Rollout]) -> None:
    _, rollout = ramping
    await real.merge(CONFIG_MAP, f"{NAME}-traffic", {"metadata": {"annotations": None, "labels": None}})
    later = real.process(epoch=5)
    assert not (await route(later, rollout)).current
    assert await later.traffic.write(rollout, ALL_ON_7) == Done()
    marks = (await real.get(CONFIG_MAP, f"{NAME}-traffic"))["metadata"]["annotations"]
    assert (marks[EPOCH], marks[WRITTEN]) == ("5", "v7=100")


async def test_a_service_of_somebody_else_is_not_taken(real: RealCluster) -> None:
    theirs = {"metadata": {"name": NAME}, "spec": {"selector": {"app": "old"}, "ports": [{"port": 80}]}}
    await real.request("POST", SERVICE.path(real.namespace), theirs)
    process = real.process()
    rollout = await read(process, await real.create_model(NAME))
    outcome = await process.traffic.write(rollout, TENTH_ON_8)
    assert outcome == Failed("NameTaken", f"Service {real.namespace}/{NAME} exists and is not modelramp's")
    assert (await real.get(SERVICE, NAME))["spec"]["selector"] == {"app": "old"}
    assert (await stored(real))["weight.v8"] == "10"


async def test_a_router_that_was_changed_by_hand_is_put_right(
    real: RealCluster, ramping: tuple[Process, Rollout]
) -> None:
    process, rollout = ramping
    await real.merge(DEPLOYMENT, f"{NAME}-router", {"spec": {"replicas": 0}})
    await process.list_all(real.namespace, DEPLOYMENT, CONFIG_MAP)
    assert not (await route(process, rollout)).current
    assert await process.traffic.write(rollout, TENTH_ON_8) == Done()
    assert (await real.get(DEPLOYMENT, f"{NAME}-router"))["spec"]["replicas"] == 2
    assert (await route(process, rollout)).current


async def test_a_router_goes_where_the_spec_says(real: RealCluster, ramping: tuple[Process, Rollout]) -> None:
    process, rollout = ramping
    taint = {"key": "edge", "operator": "Exists"}
    traffic = ConfigMapTraffic(node_selector={"role": "edge"}, tolerations=(taint,))
    moved = replace(rollout, spec=replace(rollout.spec, traffic=traffic))
    assert not (await route(process, moved)).current, "an edit moves it in the middle of a ramp too"
    assert await process.traffic.write(moved, TENTH_ON_8) == Done()
    pods = (await real.get(DEPLOYMENT, f"{NAME}-router"))["spec"]["template"]["spec"]
    assert (pods["nodeSelector"], pods["tolerations"]) == ({"role": "edge"}, [taint])
    assert (await route(process, moved)).current
    assert await process.traffic.write(rollout, TENTH_ON_8) == Done()
    pods = (await real.get(DEPLOYMENT, f"{NAME}-router"))["spec"]["template"]["spec"]
    assert "nodeSelector" not in pods


async def test_a_route_counts_for_an_object_that_knows_of_none_unless_it_goes_with_an_earlier_one(
    real: RealCluster, ramping: tuple[Process, Rollout]
) -> None:
    process, rollout = ramping
    forgotten = replace(rollout, status=Status())
    assert weighs(await route(process, forgotten), TENTH_ON_8)
    later = replace(forgotten, uid="of-a-later-object-of-the-name")
    assert isinstance(await process.traffic.read(later), NoData)
    await real.merge(CONFIG_MAP, f"{NAME}-traffic", {"metadata": {"ownerReferences": None}})
    await process.list_all(real.namespace, CONFIG_MAP)
    assert weighs(await route(process, later), TENTH_ON_8)


def weighs(found: Route, wanted: SetTraffic) -> bool:
    return found.split is not None and found.split.same(wanted.split)
