"""A user's VirtualService under a real operator process: taken over, ramped, meddled with, deleted, restored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from modelramp.adapters.kinds import VIRTUAL_SERVICE
from modelramp.ports import Ref
from modelramp.rehearse import rehearse
from tests.adapters.routes import ROUTE, install_definitions, rule_of, virtual_service
from tests.controlplane import ApiServer
from tests.whole.conftest import Residence
from tests.whole.manifests import steps
from tests.whole.prometheus import BAD, COUNTER

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
RATE = 400.0  # requests per second
BOUND = 1.0 + 0.5  # an interval and what a retreat may take, seconds
REPAIRED = 2.0
HOLDS = {"steps": steps(10, 100, hold="1h")}


@dataclass
class Mesh:
    """Proxies that follow the stored VirtualService, and count what they send."""

    residence: Residence
    ref: Ref
    counted: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    async def stored(self) -> Any:
        """Return the VirtualService; None where there is none."""
        return await self.residence.stage.admin.get(VIRTUAL_SERVICE, self.ref.namespace, self.name)

    @property
    def name(self) -> str:
        return f"shop-{self.ref.name}"

    async def weights(self) -> dict[str, int]:
        """Return the positive weights by version."""
        found = await self.stored()
        route = rule_of(VIRTUAL_SERVICE, found)[1]["route"] if found else []
        weights = {each["destination"]["host"].rpartition("-v")[2]: each.get("weight", 0) for each in route}
        return {version: weight for version, weight in weights.items() if weight}

    async def count(self, version: str) -> float:
        """Return how many requests a version has been sent."""
        weights, now = await self.weights(), time.monotonic()
        for each, weight in weights.items():
            self.counted[each] = self.counted.get(each, 0.0) + RATE * weight / 100 * (now - self.since)
        self.since = now
        return float(int(self.counted.get(version, 0.0)))

    async def shift_by_hand(self, manager: str, *weights: int) -> None:
        """Change the numbers of our route, in its order."""
        index, _ = rule_of(VIRTUAL_SERVICE, await self.stored())
        at = f"/spec/http/{index}/route"
        patch = [{"op": "add", "path": f"{at}/{i}/weight", "value": weight} for i, weight in enumerate(weights)]
        path = f"{VIRTUAL_SERVICE.path(self.ref.namespace, self.name)}?fieldManager={manager}"
        await self.residence.stage.admin.request("PATCH", path, patch, "application/json-patch+json")

    async def until_weights(self, within: float = 60.0, **weights: int) -> float:
        """Wait until exactly this split is stored; return the seconds that it took."""
        wanted = {version.removeprefix("v"): percent for version, percent in weights.items()}
        return await until(lambda: self._has(wanted), f"{wanted} stored", within)

    async def _has(self, wanted: dict[str, int]) -> bool:
        return await self.weights() == wanted


async def until(holds: Callable[[], Awaitable[bool]], what: str, within: float = 60.0) -> float:
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < within, f"not within {within} s: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(defined_server: ApiServer, residence: Residence) -> AsyncIterator[Mesh]:
    """Give a VirtualService whose route leads to version 1, and a ModelDeployment of version 1 on it."""
    await asyncio.to_thread(install_definitions, defined_server)
    it = Mesh(residence, residence.ref())
    residence.stage.prometheus.counters[it.ref] = it.count
    theirs = virtual_service({f"{it.ref.name}-v1": 1}, name=it.name)
    await residence.stage.admin.create({**theirs, "metadata": {**theirs["metadata"], "namespace": it.ref.namespace}})
    yield it
    assert residence.operator.runs


def traffic(mesh: Mesh) -> dict[str, Any]:
    return {"istio": {"patch": {"virtualService": mesh.name, "route": ROUTE}, "requestsQuery": COUNTER}}


def condition(mesh: Mesh) -> tuple[str, str]:
    found = mesh.residence.trace.status(mesh.ref).get("conditions") or []
    return next(((c["status"], c["reason"]) for c in found if c["type"] == "TrafficConverged"), ("", ""))


async def test_taken_over_as_it_serves_then_repaired_towards_stable_and_left_where_a_hand_put_it(mesh: Mesh) -> None:
    stage, trace = mesh.residence.stage, mesh.residence.trace
    await stage.create(mesh.ref, "2", ramp=HOLDS, traffic=traffic(mesh))
    await trace.until_phase(mesh.ref, "Promoted", "1")
    await trace.until_phase(mesh.ref, "Starting", "2")
    assert "2" not in await mesh.weights()
    await mesh.until_weights(v1=90, v2=10)
    await mesh.shift_by_hand("kubectl-edit", 10, 90)
    assert await mesh.until_weights(REPAIRED, v1=90, v2=10) < REPAIRED
    await mesh.shift_by_hand("kiali", 100, 0)
    await trace.until_phase(mesh.ref, "RolledBack", "1")
    assert trace.status(mesh.ref)["reason"] == "ManualRollback"
    assert "by kiali at " in trace.status(mesh.ref)["message"]
    await asyncio.sleep(1.0)
    assert await mesh.weights() == {"1": 100}


async def test_a_breach_takes_everything_back_and_a_deleted_route_is_a_condition_until_it_is_back(mesh: Mesh) -> None:
    stage, trace = mesh.residence.stage, mesh.residence.trace
    await stage.create(mesh.ref, "1", ramp=HOLDS, traffic=traffic(mesh))
    await trace.until_phase(mesh.ref, "Promoted", "1")
    await stage.pin(mesh.ref, "2")
    await mesh.until_weights(v1=90, v2=10)
    await trace.until(lambda: trace.status(mesh.ref)["reason"] == "Holding", "the step is seen in effect")
    theirs = await mesh.stored()
    await stage.admin.delete(VIRTUAL_SERVICE, mesh.ref.namespace, mesh.name)
    await trace.until(lambda: condition(mesh) == ("False", "NoRoute"), lambda: f"NoRoute, not {condition(mesh)}")
    stage.prometheus.say(mesh.ref, "2", BAD)
    await trace.until_phase(mesh.ref, "RolledBack", "1")
    assert condition(mesh) == ("False", "NoRoute"), "what was not read back is not done"
    head = {key: theirs["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    await stage.admin.create({**theirs, "metadata": head})
    await mesh.until_weights(5.0, v1=100)
    await trace.until(lambda: condition(mesh) == ("True", "InEffect"), lambda: f"in effect, not {condition(mesh)}")


async def test_nothing_is_written_before_an_attempt_and_a_breach_is_answered_at_once(mesh: Mesh) -> None:
    stage, trace = mesh.residence.stage, mesh.residence.trace
    before = await mesh.stored()
    await stage.create(mesh.ref, "1", ramp=HOLDS, traffic=traffic(mesh))
    await trace.until_phase(mesh.ref, "Promoted", "1")
    await trace.until(lambda: condition(mesh) == ("True", "InEffect"), lambda: f"in effect, not {condition(mesh)}")
    assert (await mesh.stored())["spec"] == before["spec"]
    await stage.pin(mesh.ref, "2")
    await mesh.until_weights(v1=90, v2=10)
    stage.prometheus.say(mesh.ref, "2", BAD)
    await mesh.until_weights(BOUND, v1=100)
    await trace.until_phase(mesh.ref, "RolledBack", "1")


async def test_a_drill_lends_all_traffic_of_the_route_to_the_version_before_and_is_recorded(mesh: Mesh) -> None:
    stage, trace = mesh.residence.stage, mesh.residence.trace
    await stage.create(mesh.ref, "1", ramp={"steps": steps(100, hold="1s")}, traffic=traffic(mesh))
    await trace.until_phase(mesh.ref, "Promoted", "1")
    await stage.pin(mesh.ref, "2")
    await trace.until_phase(mesh.ref, "Promoted", "2")
    await trace.until(lambda: condition(mesh) == ("True", "InEffect"), lambda: f"in effect, not {condition(mesh)}")
    before = await mesh.stored()
    drill = asyncio.create_task(rehearse(mesh.ref.name, mesh.ref.namespace, stage.server.kubeconfig, 100))
    await mesh.until_weights(v1=100)
    told = await drill
    assert told.text.startswith("RollbackRehearsed: version 1 had all traffic after "), told.text
    await mesh.until_weights(5.0, v2=100)
    after = await mesh.stored()
    assert after["spec"] == before["spec"], "the route is as it was"
    (record,) = [one for one in trace.status(mesh.ref)["history"] if one["event"] == "RollbackRehearsed"]
    ways = {one["check"]: (one["verdict"], one["value"] > 0) for one in record["evidence"] if "drill" in one["check"]}
    assert ways == {"drill there": ("Pass", True), "drill back": ("Pass", True)}
    assert trace.status(mesh.ref)["rehearsed"]["version"] == "1"
