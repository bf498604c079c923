"""The main job through a real gateway: the operator as a process, real Envoy Gateway, real Envoy, real Prometheus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.controlplane.supervised import free_port
from tests.gateway.envoy_gateway import EnvoyGateway
from tests.gateway.rpc import RPC
from tests.gateway.versions import ENDPOINT_SLICE
from tests.gateway.world import Proxy, playing, standing_gateway
from tests.mesh.test_rollout import all_goes_to, rolled_out, send_back_by_hand, shares_are_within_bounds
from tests.mesh.world import MeshWorld
from tests.prometheus_server import PrometheusServer
from tests.whole.admin import JSON_PATCH
from tests.whole.stage import Stage

pytestmark = pytest.mark.timeout(600)  # the first time Envoy Gateway is compiled


@pytest.fixture
async def proxy(
    request: pytest.FixtureRequest, stage: Stage, envoy_gateway: EnvoyGateway, tmp_path: Path
) -> AsyncIterator[Proxy]:
    """Give a Gateway with the settings of its proxies that the test names."""
    async with standing_gateway(stage, envoy_gateway, await stage.namespace(), tmp_path, request.param) as it:
        yield it


@pytest.mark.parametrize("proxy", [{}], indirect=True, ids=["usual"])
async def test_a_rollout_and_a_rollback_by_hand(proxy: Proxy, stage: Stage, prometheus: PrometheusServer) -> None:
    async with playing(stage, proxy, prometheus, {"percent": 50, "minRequests": 100}) as world:
        await rolled_out(world)

        await world.stage.admin.edit(world.ref, shadow=None)
        await world.stage.pin(world.ref, "3")
        await world.until_weight("3", 10)
        await send_back_by_hand(world)
        await world.until("RolledBack", "2", "ManualRollback")
        await taken_back(world, "2")
        assert "kubectl-edit" in world.trace.status(world.ref)["message"]
        assert set(world.answers(0)) <= {"1", "2", "3"}, "no request failed"


@pytest.mark.parametrize("proxy", [{"mergeBackends": {}}], indirect=True, ids=["merged"])
async def test_grpc_calls_are_split_and_taken_back_when_they_fail(
    proxy: Proxy, stage: Stage, prometheus: PrometheusServer
) -> None:
    async with playing(stage, proxy, prometheus, wire=RPC) as world:
        await world.stage.pin(world.ref, "2")
        await world.until("Promoted", "2")
        shares_are_within_bounds(world)
        assert set(world.answers(0)) == {"1", "2"}, "no call failed"

        await world.stage.pin(world.ref, "3")
        await world.until_weight("3", 10)
        world.versions["3"].broken = True
        await world.until("RolledBack", "2", "GuardrailFailed")
        await taken_back(world, "2")
        assert set(world.answers(0)) <= {"1", "2", "3", "INTERNAL"}, "nobody fails but the broken version"


@pytest.mark.parametrize("proxy", [{"mergeBackends": {}}], indirect=True, ids=["merged"])
async def test_proxies_that_tell_versions_apart_see_a_breach_that_no_model_server_saw(
    proxy: Proxy, stage: Stage, prometheus: PrometheusServer
) -> None:
    async with playing(stage, proxy, prometheus) as world:
        await world.stage.pin(world.ref, "2")
        await world.until_weight("2", 10)
        await lead_nowhere(world, "2")
        await world.until("RolledBack", "1", "GuardrailFailed")
        await taken_back(world, "1")
        assert set(world.versions["2"].answers) <= {"200"}
        assert any(said.startswith("503 from upstream") for said in world.answers(0))


async def taken_back(world: MeshWorld, version: str) -> None:
    """See that all goes to one version again; status and route are written at the same time, and watched apart."""
    await world.trace.until(lambda: world.weights() == {version: 100}, "the candidate is at 0")
    await all_goes_to(world, version)


async def lead_nowhere(world: MeshWorld, version: str) -> None:
    """Have the proxies find nobody where a version's pods are said to be."""
    path = ENDPOINT_SLICE.path(world.ref.namespace, f"{world.ref.name}-v{version}")
    port = [{"op": "replace", "path": "/ports/0/port", "value": free_port()}]
    await world.stage.admin.request("PATCH", path, port, JSON_PATCH)
