"""A user's VirtualService on a real API server: what is changed in it, what is not, and who may."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from modelramp.adapters.kinds import MODEL_DEPLOYMENT, STEERED, VIRTUAL_SERVICE
from modelramp.ports import Conflict, Deposed, Done, Ref, Rollout
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Failed, NoData, Split, Value
from tests.adapters.real import Process, RealCluster, read
from tests.adapters.routes import CREATE, NAME, PATCH, ROUTE, compact, rule_of, virtual_service, weights_of
from tests.adapters.scenes import (
    ALL_ON_7,
    COMMENTS,
    HALF_ON_8,
    RAMPING,
    SHADOW_8,
    TENTH_ON_8,
    V7,
    V8,
    Scene,
    foreign_routes,
    staged,
)
from tests.controlplane import ApiServer

pytestmark = pytest.mark.apiserver


def without_numbers(obj: Any) -> str:
    """Return the object without what a rollout may change: our route's numbers and mirror, our marks, versions."""
    obj = copy.deepcopy(obj)
    metadata = obj["metadata"]
    for field in ("resourceVersion", "generation", "managedFields"):
        metadata.pop(field)
    for key in [key for key in metadata["annotations"] if key.startswith(f"{NAME}.modelramp.dev/")]:
        del metadata["annotations"][key]
    _, rule = rule_of(VIRTUAL_SERVICE, obj)
    for field in ("mirror", "mirrorPercentage"):
        rule.pop(field, None)
    for destination in rule["route"]:
        del destination["weight"]
    rule["route"] = [each for each in rule["route"] if each["destination"]["host"] != V8]
    return compact(obj)


async def test_forty_foreign_routes_survive_ten_rollouts_byte_for_byte(meshes: ApiServer, real: RealCluster) -> None:
    assert meshes
    foreign = foreign_routes(40)
    scene = await staged(real, virtual_service({V7: 100}, foreign, annotations=COMMENTS))
    before = await scene.stored()
    for _ in range(10):
        for wanted in (SHADOW_8, TENTH_ON_8, HALF_ON_8, ALL_ON_7, replace(ALL_ON_7, backends=("7",), why="drained")):
            assert await scene.process.traffic.write(scene.rollout, wanted) == Done()
            now = await scene.stored()
            assert without_numbers(now) == without_numbers(before)
    assert compact(now["spec"]) == compact(before["spec"])
    assert now["spec"]["http"][:40] == foreign


async def test_a_ramp_changes_two_numbers_in_one_call(scene: Scene) -> None:
    await scene.process.traffic.write(scene.rollout, TENTH_ON_8)
    scene.real.calls.clear()
    assert await scene.process.traffic.write(scene.rollout, HALF_ON_8) == Done()
    assert scene.real.calls == ["PATCH"]
    assert await scene.weights() == {V7: 50, V8: 50}


async def test_the_shadow_is_mirrored_and_taken_away_again(scene: Scene) -> None:
    assert await scene.process.traffic.write(scene.rollout, SHADOW_8) == Done()
    _, rule = rule_of(VIRTUAL_SERVICE, await scene.stored())
    assert (rule["mirror"], rule["mirrorPercentage"]) == ({"host": V8}, {"value": 30})
    assert (await scene.route()).split == Split({"7": 100, "8": 0}, {"8": 30})
    assert await scene.process.traffic.write(scene.rollout, TENTH_ON_8) == Done()
    _, rule = rule_of(VIRTUAL_SERVICE, await scene.stored())
    assert "mirror" not in rule
    assert "mirrorPercentage" not in rule


async def test_a_mirror_of_somebody_else_is_left_alone_and_stands_in_the_way_of_ours(scene: Scene) -> None:
    index, _ = rule_of(VIRTUAL_SERVICE, await scene.stored())
    theirs = {"op": "add", "path": f"/spec/http/{index}/mirror", "value": {"host": "audit"}}
    await scene.edit([theirs])
    refused = await scene.process.traffic.write(scene.rollout, SHADOW_8)
    assert refused == Failed("MirrorTaken", "the route already mirrors to audit")
    assert await scene.process.traffic.write(scene.rollout, TENTH_ON_8) == Done()
    assert rule_of(VIRTUAL_SERVICE, await scene.stored())[1]["mirror"] == {"host": "audit"}


async def test_in_a_list_of_mirrors_ours_is_one_more_and_those_of_others_stay(scene: Scene) -> None:
    index, _ = rule_of(VIRTUAL_SERVICE, await scene.stored())
    theirs = [{"destination": {"host": "audit", "port": {"number": 80}}, "percentage": {"value": 12.5}}]
    await scene.edit([{"op": "add", "path": f"/spec/http/{index}/mirrors", "value": theirs}])
    await scene.hear()
    ours = {"destination": {"host": V8}, "percentage": {"value": 30}}
    more = replace(SHADOW_8, split=replace(SHADOW_8.split, mirror={"8": 60}))
    for wanted, expected in (
        (SHADOW_8, [*theirs, ours]),
        (more, [*theirs, ours | {"percentage": {"value": 60}}]),
        (TENTH_ON_8, theirs),
        (SHADOW_8, [*theirs, ours]),
        (ALL_ON_7, theirs),
    ):
        assert await scene.process.traffic.write(scene.rollout, wanted) == Done()
        _, rule = rule_of(VIRTUAL_SERVICE, await scene.stored())
        assert rule["mirrors"] == expected
        assert "mirror" not in rule
        assert (await scene.route()).split == Split({"7": 100, "8": 0} | wanted.split.weights, wanted.split.mirror)


async def test_our_mirror_moves_into_a_list_that_somebody_begins_beside_it(scene: Scene) -> None:
    assert await scene.process.traffic.write(scene.rollout, SHADOW_8) == Done()
    index, _ = rule_of(VIRTUAL_SERVICE, await scene.stored())
    theirs = [{"destination": {"host": "audit"}}]
    await scene.edit([{"op": "add", "path": f"/spec/http/{index}/mirrors", "value": theirs}])
    await scene.hear()
    more = replace(SHADOW_8, split=replace(SHADOW_8.split, mirror={"8": 60}))
    assert await scene.process.traffic.write(scene.rollout, more) == Done()
    _, rule = rule_of(VIRTUAL_SERVICE, await scene.stored())
    assert rule["mirrors"] == [*theirs, {"destination": {"host": V8}, "percentage": {"value": 60}}]
    assert not {"mirror", "mirrorPercentage"} & rule.keys()


async def test_what_a_destination_says_besides_goes_with_each_new_version(scene: Scene) -> None:
    index, _ = rule_of(VIRTUAL_SERVICE, await scene.stored())
    full = {
        "destination": {"host": f"{V7}.{scene.real.namespace}.svc.cluster.local", "port": {"number": 80}},
        "headers": {"response": {"set": {"x-model": "fraud"}}},
    }
    await scene.edit([{"op": "replace", "path": f"/spec/http/{index}/route/0", "value": full}])
    assert await scene.process.traffic.write(scene.rollout, TENTH_ON_8) == Done()
    _, rule = rule_of(VIRTUAL_SERVICE, await scene.stored())
    assert rule["route"] == [
        full | {"weight": 90},
        {"destination": {"host": V8, "port": {"number": 80}}, "headers": full["headers"], "weight": 10},
    ]


class TestTakingOver:
    async def test_the_live_split_is_read_and_nothing_is_written(self, meshes: ApiServer, real: RealCluster) -> None:
        assert meshes
        scene = await staged(real, virtual_service({V7: 9, V8: 1}))
        found = await scene.route()
        assert (found.split, found.written) == (Split({"7": 90, "8": 10}), None)

    async def test_what_is_no_version_of_ours_keeps_its_place_without_weight(
        self, meshes: ApiServer, real: RealCluster
    ) -> None:
        assert meshes
        scene = await staged(real, virtual_service({"fraud-legacy": 100}))
        assert (await scene.route()).split == Split({})
        first = SetTraffic(Split({"7": 100}), "7", ("7",), retreat=False, why="Ready")
        assert await scene.process.traffic.write(scene.rollout, first) == Done()
        assert await scene.weights() == {"fraud-legacy": 0, V7: 100}


class TestHands:
    async def test_a_reordered_list_is_no_obstacle_to_a_retreat(self, scene: Scene) -> None:
        await scene.process.traffic.write(scene.rollout, HALF_ON_8)
        index, rule = rule_of(VIRTUAL_SERVICE, await scene.stored())
        move = {"op": "move", "from": f"/spec/http/{index}", "path": "/spec/http/0"}
        await scene.edit([move])
        assert await scene.process.traffic.write(scene.rollout, ALL_ON_7) == Done()
        index, rule = rule_of(VIRTUAL_SERVICE, await scene.stored())
        assert (index, rule["name"]) == (0, ROUTE)
        assert await scene.weights() == {V7: 100, V8: 0}

    async def test_who_sent_traffic_back_is_named(self, scene: Scene) -> None:
        await scene.process.traffic.write(scene.rollout, HALF_ON_8)
        index, _ = rule_of(VIRTUAL_SERVICE, await scene.stored())
        await scene.edit([{"op": "replace", "path": f"/spec/http/{index}/route/1/weight", "value": 0}], "kiali")
        await scene.hear()
        found = await scene.route()
        assert found.split == Split({"7": 100, "8": 0})
        assert found.author.startswith("kiali at 20")
        assert found.malformed == "the weights must add up to 100, not 50"

    async def test_foreign_edits_neither_stop_progress_nor_are_undone(self, scene: Scene) -> None:
        await scene.process.traffic.write(scene.rollout, TENTH_ON_8)
        await scene.edit([{"op": "replace", "path": "/spec/http/0/timeout", "value": "9s"}])
        assert await scene.process.traffic.write(scene.rollout, HALF_ON_8) == Done()
        assert (await scene.stored())["spec"]["http"][0]["timeout"] == "9s"

    async def test_progress_loses_against_an_edit_of_its_own_route(self, scene: Scene) -> None:
        await scene.process.traffic.write(scene.rollout, TENTH_ON_8)
        index, _ = rule_of(VIRTUAL_SERVICE, await scene.stored())
        await scene.edit([{"op": "add", "path": f"/spec/http/{index}/timeout", "value": "9s"}])
        assert isinstance(await scene.process.traffic.write(scene.rollout, HALF_ON_8), Conflict)
        assert await scene.weights() == {V7: 90, V8: 10}
        assert await scene.process.traffic.write(scene.rollout, HALF_ON_8) == Done()


class TestWhoMay:
    async def test_an_object_without_the_label_is_not_touched(self, scene: Scene) -> None:
        before = await scene.stored()
        await scene.edit([{"op": "remove", "path": f"/metadata/labels/{STEERED.replace('/', '~1')}"}])
        outcome = await scene.process.traffic.write(scene.rollout, ALL_ON_7)
        assert outcome == await scene.process.traffic.read(scene.rollout)
        assert isinstance(outcome, Failed)
        assert outcome.reason == "NotOptedIn"
        assert f'does not have the label {STEERED}: "true"' in outcome.message
        assert (await scene.stored())["spec"] == before["spec"]

    async def test_the_older_of_two_keeps_the_route_and_the_younger_says_so(self, scene: Scene) -> None:
        await asyncio.sleep(1.0)  # the API server counts an object's age in seconds
        await scene.real.create_model("fraud-rival", traffic=PATCH)
        rival = replace(await read(scene.process, Ref(scene.real.namespace, "fraud-rival")), status=RAMPING)
        refused = await scene.process.traffic.read(rival)
        assert isinstance(refused, Failed)
        assert refused.reason == "RouteTaken"
        assert f"route {ROUTE} of VirtualService {scene.real.namespace}/shop is steered by {NAME}" in refused.message
        assert await scene.process.traffic.write(rival, ALL_ON_7) == refused
        assert await scene.process.traffic.write(scene.rollout, TENTH_ON_8) == Done()
        other = {"istio": {"patch": {"virtualService": "shop", "route": "route-1"}}}
        await scene.real.create_model("fraud-beside", traffic=other)
        beside = await read(scene.process, Ref(scene.real.namespace, "fraud-beside"))
        assert isinstance(await scene.process.traffic.read(beside), Value)

    async def test_a_deposed_leaders_late_write_is_refused(self, scene: Scene) -> None:
        await scene.process.traffic.write(scene.rollout, TENTH_ON_8)
        new = scene.real.process(epoch=2)
        assert await new.traffic.write(scene.rollout, HALF_ON_8) == Done()
        assert scene.process.lease.held()
        assert await scene.process.traffic.write(scene.rollout, ALL_ON_7) == Deposed()
        assert await scene.process.traffic.write(scene.rollout, TENTH_ON_8) == Deposed()
        assert await scene.weights() == {V7: 50, V8: 50}


class TestWhatIsMissing:
    async def test_a_deleted_object_is_said_to_be_missing_and_is_used_again_when_it_is_back(self, scene: Scene) -> None:
        await scene.process.traffic.write(scene.rollout, HALF_ON_8)
        await scene.real.request("DELETE", VIRTUAL_SERVICE.path(scene.real.namespace, "shop"))
        missing = Failed("NoRoute", f"there is no VirtualService {scene.real.namespace}/shop")
        assert await scene.process.traffic.write(scene.rollout, ALL_ON_7) == missing
        assert await scene.process.traffic.read(scene.rollout) == missing
        theirs = virtual_service({V7: 50, V8: 50})
        await scene.real.request("POST", VIRTUAL_SERVICE.path(scene.real.namespace), theirs)
        assert await scene.process.traffic.write(scene.rollout, ALL_ON_7) == Done()
        assert await scene.weights() == {V7: 100, V8: 0}

    async def test_a_route_that_was_renamed_is_said_to_be_missing(self, scene: Scene) -> None:
        index, _ = rule_of(VIRTUAL_SERVICE, await scene.stored())
        await scene.edit([{"op": "replace", "path": f"/spec/http/{index}/name", "value": "other"}])
        await scene.hear()
        missing = await scene.process.traffic.read(scene.rollout)
        assert isinstance(missing, Failed)
        assert missing.message.endswith(f"has no route with the name {ROUTE}")


class TestOurOwn:
    @pytest.fixture
    async def own(self, meshes: ApiServer, real: RealCluster) -> tuple[Process, Rollout]:
        """Give a process, and a ModelDeployment whose VirtualService it makes."""
        assert meshes
        process = real.process()
        rollout = await read(process, await real.create_model(NAME, traffic=CREATE))
        return process, replace(rollout, status=RAMPING)

    async def test_it_is_made_whole_and_goes_with_its_owner(
        self, real: RealCluster, own: tuple[Process, Rollout]
    ) -> None:
        process, rollout = own
        assert await process.traffic.write(rollout, TENTH_ON_8) == Done()
        made = await real.get(VIRTUAL_SERVICE, NAME)
        hosts = CREATE["istio"]["create"]["hosts"]
        entries: list[Mapping[str, Any]] = [
            {"destination": {"host": V7}, "weight": 90},
            {"destination": {"host": V8}, "weight": 10},
        ]
        assert made["spec"] == {"hosts": hosts, "http": [{"name": NAME, "route": entries}]}
        assert made["metadata"]["ownerReferences"][0]["uid"] == rollout.uid

    async def test_one_of_somebody_else_is_not_taken(self, real: RealCluster, own: tuple[Process, Rollout]) -> None:
        process, rollout = own
        theirs = virtual_service({"theirs": 100}, name=NAME)
        await real.request("POST", VIRTUAL_SERVICE.path(real.namespace), theirs)
        taken = Failed("NameTaken", f"VirtualService {real.namespace}/{NAME} exists and is not modelramp's")
        assert await process.traffic.write(rollout, TENTH_ON_8) in (taken, Conflict(""))
        assert await process.traffic.read(rollout) == taken
        assert weights_of(VIRTUAL_SERVICE, theirs) == {"theirs": 100}

    @pytest.mark.parametrize(
        "spoilt",
        [
            {"spec": {"hosts": ["other.example.com"]}},
            {"spec": {"http": []}},
            {"spec": {"http": [{"name": NAME, "timeout": "1s", "route": [{"destination": {"host": V8}}]}]}},
            {"metadata": {"ownerReferences": None}},
        ],
    )
    async def test_what_is_changed_in_it_by_hand_is_put_right(
        self, real: RealCluster, own: tuple[Process, Rollout], spoilt: Mapping[str, Any]
    ) -> None:
        process, rollout = own
        await process.traffic.write(rollout, TENTH_ON_8)
        before = await real.get(VIRTUAL_SERVICE, NAME)
        await real.merge(VIRTUAL_SERVICE, NAME, spoilt)
        await process.writer.refresh(VIRTUAL_SERVICE, real.namespace, NAME)
        found = await process.traffic.read(rollout)
        assert isinstance(found, Value)
        assert not found.value.current
        assert await process.traffic.write(rollout, TENTH_ON_8) == Done()
        after = await real.get(VIRTUAL_SERVICE, NAME)
        assert after["spec"] == before["spec"]
        assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]

    async def test_a_deleted_one_is_made_again(self, real: RealCluster, own: tuple[Process, Rollout]) -> None:
        process, rollout = own
        await process.traffic.write(rollout, HALF_ON_8)
        await real.request("DELETE", VIRTUAL_SERVICE.path(real.namespace, NAME))
        await process.writer.refresh(VIRTUAL_SERVICE, real.namespace, NAME)
        assert isinstance(await process.traffic.read(rollout), NoData)
        assert await process.traffic.write(rollout, ALL_ON_7) == Done()
        assert weights_of(VIRTUAL_SERVICE, await real.get(VIRTUAL_SERVICE, NAME)) == {V7: 100, V8: 0}

    async def test_a_candidate_is_never_alone_before_its_promotion(self, own: tuple[Process, Rollout]) -> None:
        process, rollout = own
        alone = SetTraffic(Split({"8": 100}), "7", ("8",), retreat=False, why="wrong")
        with pytest.raises(ValueError, match="must name the stable version 7"):
            await process.traffic.write(rollout, alone)


async def test_a_spec_that_cannot_be_used_still_says_which_route_a_retreat_is_for(scene: Scene) -> None:
    found = await scene.process.objects.read(scene.rollout.ref)
    assert isinstance(found, Value)
    broken = await scene.real.get(MODEL_DEPLOYMENT, NAME)
    broken["spec"]["model"]["version"] = "champion"  # as a newer operator's CRD may allow
    broken["metadata"]["resourceVersion"] = str(int(broken["metadata"]["resourceVersion"]) + 1)
    later = scene.real.process()
    later.store.put(MODEL_DEPLOYMENT, broken)
    rollout = await read(later, scene.rollout.ref)
    assert rollout.spec.problem
    assert rollout.spec.traffic == found.value.spec.traffic
