"""Fixtures of the adapters' tests: a namespace on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from modelramp.adapters.kinds import VIRTUAL_SERVICE
from modelramp.adapters.kubernetes import Cluster
from tests.adapters.benches import NAME, Bench, ExampleBench, MemoryBench, RealBench, SteeredBench
from tests.adapters.real import RealCluster, install_definition, new_namespace
from tests.adapters.routes import (
    OWNED,
    USERS,
    example_route,
    install_definitions,
    install_example,
    load_example,
    virtual_service,
)
from tests.adapters.scenes import COMMENTS, V7, Scene, foreign_routes, staged
from tests.controlplane import ApiServer


@pytest.fixture(scope="session")
def defined(api_server: ApiServer) -> ApiServer:
    """Give an API server that knows ModelDeployments."""
    install_definition(api_server)
    return api_server


@pytest.fixture
async def real(defined: ApiServer) -> AsyncIterator[RealCluster]:
    """Give a namespace of its own."""
    calls: list[str] = []
    cluster = await Cluster.connect(defined.kubeconfig, on_call=lambda method, *_: calls.append(method))
    async with aiohttp.ClientSession() as session:
        yield RealCluster(defined, new_namespace(defined), cluster, session, calls)
    await cluster.close()


@pytest.fixture(scope="session")
def meshes(defined: ApiServer) -> ApiServer:
    """Give an API server that knows the kinds of Istio and of the Gateway API, too."""
    install_definitions(defined)
    return defined


@pytest.fixture
async def scene(meshes: ApiServer, real: RealCluster) -> Scene:
    """Give a VirtualService with six foreign routes, of whose own one everything goes to version 7."""
    assert meshes
    return await staged(real, virtual_service({V7: 100}, foreign_routes(6), annotations=COMMENTS))


ON_A_SERVER = [pytest.param(name, marks=pytest.mark.apiserver) for name in ("configMap", *OWNED, *USERS, "apisix")]


@pytest.fixture(params=["memory", *ON_A_SERVER])
def routed(request: pytest.FixtureRequest) -> Bench:
    """Give each of the worlds that the contract of Traffic holds in."""
    if request.param == "memory":
        return MemoryBench()
    real = request.getfixturevalue("real")
    if request.param == "configMap":
        return RealBench(real)
    if request.param == "apisix":
        install_example(real.server)
        return ExampleBench(real, {"configMap": {}}, load_example().APISIX_ROUTE, NAME, example_route())
    request.getfixturevalue("meshes")
    if request.param in OWNED:
        return SteeredBench(real, OWNED[request.param], VIRTUAL_SERVICE, NAME)
    traffic, kind, theirs = USERS[request.param]
    return SteeredBench(real, traffic, kind, "shop", theirs)


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.apiserver)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Give each of the worlds that a port's contract holds in."""
    return MemoryBench() if request.param == "memory" else RealBench(request.getfixturevalue("real"))
