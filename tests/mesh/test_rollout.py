"""The main job through a real mesh: the operator as a process, real istiod, real Envoy, real Prometheus."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from modelramp.adapters.kinds import VIRTUAL_SERVICE
from tests.adapters.routes import rule_of
from tests.mesh.istiod import Istiod
from tests.mesh.sidecar import running_sidecar
from tests.mesh.ways import WAYS
from tests.mesh.world import MeshWorld, Stretch, Way, playing
from tests.prometheus_server import PrometheusServer
from tests.whole.admin import JSON_PATCH
from tests.whole.stage import Stage

pytestmark = pytest.mark.timeout(240)
NOT_FOLLOWED = re.compile(r"version 1 got (\d+) of \1 requests where 90 % was asked for")


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, stage: Stage, istiod: Istiod, prometheus: PrometheusServer, tmp_path: Path
) -> AsyncIterator[MeshWorld]:
    """Give a mesh with version 1 in it, on a route that is held in the way that the test names."""
    make: Callable[[str], Way] = WAYS[request.param]
    namespace = await stage.namespace()
    way = make(namespace)
    with running_sidecar(istiod, tmp_path, way.role) as proxy:
        async with playing(stage, proxy, prometheus, way, namespace) as it:
            yield it


def is_within_bounds(hits: int, total: int, percent: int) -> bool:
    """Tell whether so many of so many may come of a share: four standard deviations, and one for the edge."""
    share = percent / 100
    return abs(hits - total * share) <= 4 * math.sqrt(total * share * (1 - share)) + 1


@pytest.mark.parametrize("world", ["create", "delegate", "httpRoute"], indirect=True)
async def test_a_rollout(world: MeshWorld) -> None:
    await rolled_out(world)


@pytest.mark.parametrize("world", ["gateway"], indirect=True)
async def test_a_rollout_writes_that_shift_at_once_a_breach_and_a_rollback_by_hand(world: MeshWorld) -> None:
    await rolled_out(world)
    took = [await seconds_to_return(world, version) for version in ("1", "2") * 3]
    assert statistics.median(took) <= 0.25, took
    assert set(world.answers(0)) == {"1", "2"}, "no request failed"

    await world.stage.pin(world.ref, "3")
    await world.until_weight("3", 10)
    world.versions["3"].broken = True
    await world.until("RolledBack", "2", "GuardrailFailed")
    await all_goes_to(world, "2")
    assert set(world.answers(0)) <= {"1", "2", "3", "500 from 3"}, "nobody fails but the broken version"

    await world.stage.pin(world.ref, "4")
    await world.until_weight("4", 10)
    await send_back_by_hand(world)
    await world.until("RolledBack", "2", "ManualRollback")
    await all_goes_to(world, "2")
    assert "kubectl-edit" in world.trace.status(world.ref)["message"]


@pytest.mark.parametrize("world", ["patch"], indirect=True)
async def test_a_split_that_the_mesh_does_not_follow_is_taken_back(world: MeshWorld, istiod: Istiod) -> None:
    await world.stage.admin.edit(world.ref, ramp={"effectDeadline": "4s"}, shadow=None)
    with istiod.frozen():
        await world.stage.pin(world.ref, "2")
        await world.until_weight("2", 10)
        await world.until("RolledBack", "1", "RouteNotEffective")
        await world.trace.until(lambda: world.weights() == {"1": 100}, "the candidate is at 0")
    assert NOT_FOLLOWED.search(world.trace.status(world.ref)["message"])
    await world.trace.until(lambda: any(NOT_FOLLOWED.search(each) for each in events(world, "RolledBack")), "an event")
    await world.trace.until(lambda: "RouteNotEffective" in reasons_on_record(world), "the record says so")
    await all_goes_to(world, "1")
    assert set(world.answers(0)) == {"1"}, "no request failed"


def events(world: MeshWorld, reason: str) -> list[str]:
    """Return what the Events of this reason say."""
    return [note for its, note in world.trace.events(world.ref) if its == reason]


def reasons_on_record(world: MeshWorld) -> set[str]:
    """Return the reasons in the records that the registry has of this ModelDeployment."""
    kept = world.stage.registry.records
    return {json.loads(kept[path])["reason"] for path in kept if f"/modelramp/{world.ref.namespace}/" in path}


async def rolled_out(world: MeshWorld) -> None:
    """Take version 2 to all traffic and look at every request on the way."""
    await world.stage.pin(world.ref, "2")
    await world.until("Promoted", "2")
    shares_are_within_bounds(world)
    copies_are_counted(world)
    assert set(world.answers(0)) == {"1", "2"}, "no request failed"


def shares_are_within_bounds(world: MeshWorld) -> None:
    """See that clients were answered by each version as often as the split in effect says."""
    seen = set()
    for stretch in world.stretches():
        if stretch.settled is None:
            continue
        answered = world.answers(stretch.settled, stretch.until)
        seen |= set(stretch.weights.values()) if answered.total() >= 100 else set()
        for version in "12":
            percent, got = stretch.weights.get(version, 0), answered[version]
            assert is_within_bounds(got, answered.total(), percent), f"{got} of {answered.total()}: {stretch}"
    assert {10, 90, 50, 100} <= seen, "every step had requests enough to tell"


def copies_are_counted(world: MeshWorld) -> None:
    """See that each request was copied to the candidate while the route mirrored, and that it answered them."""
    if world.way.shadow is None:
        return
    shadow, step = next((one, two) for one, two in pairwise(world.stretches()) if one.mirrored)
    assert shadow.settled is not None
    assert step.settled is not None
    fewest, most = (
        world.answers(shadow.settled, shadow.until).total(),
        world.answers(shadow.since, step.settled).total(),
    )
    copies = sum(world.versions["2"].answers.values()) - world.answers(0)["2"]
    percent = int(world.way.shadow["percent"])
    assert fewest >= 100
    # Copies are sent and forgotten: a few may be on their way.
    assert copies >= fewest * 0.95 * percent / 100 or is_within_bounds(copies, fewest, percent)
    assert copies <= most * percent / 100 or is_within_bounds(copies, most, percent)


async def all_goes_to(world: MeshWorld, version: str) -> None:
    """See that the route gives all to one version, and that clients get to it alone."""
    # Status and route are watched apart, and the proxy is told after both.
    await world.until_weight(version, 100)
    since = await world.trace.until(lambda: set(newest_answers(world, 20)) == {version}, f"all goes to {version}")
    await world.trace.until(lambda: world.answers(since).total() >= 100, "a hundred answers")
    assert set(world.answers(since)) == {version}


def newest_answers(world: MeshWorld, count: int) -> list[str]:
    """Return who answered last."""
    return [said for _, said in world.load.answers[-count:]]


async def send_back_by_hand(world: MeshWorld) -> None:
    """Do what the runbook says for 2 AM, at a route that is not a ConfigMap."""
    way, namespace = world.way, world.ref.namespace
    stored = await world.stage.admin.get(way.kind, namespace, way.route)
    index, rule = rule_of(way.kind, stored)
    rules, entries = ("http", "route") if way.kind is VIRTUAL_SERVICE else ("rules", "backendRefs")
    names = [each.get("name") or each["destination"]["host"] for each in rule[entries]]
    at = f"/spec/{rules}/{index}/{entries}"
    weights = [
        {"op": "replace", "path": f"{at}/{n}/weight", "value": 100 * name.endswith("-v2")}
        for n, name in enumerate(names)
    ]
    path = f"{way.kind.path(namespace, way.route)}?fieldManager=kubectl-edit"
    await world.stage.admin.request("PATCH", path, weights, JSON_PATCH)


async def seconds_to_return(world: MeshWorld, version: str) -> float:
    """Pin a warm version, and return the time from the write of the route until a client gets to it."""
    await world.stage.pin(world.ref, version)
    answered = await world.first_answer(version)
    await world.until("Promoted", version)
    # Status and route are written at the same time, and watched apart.
    await world.trace.until(lambda: _newest(world).weights.get(version) == 100, "the write is seen")
    return answered - _newest(world).since


def _newest(world: MeshWorld) -> Stretch:
    return list(world.stretches())[-1]
