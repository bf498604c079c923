"""Fixtures of the adapters' tests: a namespace on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from modelramp.adapters.kubernetes import Cluster
from tests.adapters.benches import Bench, MemoryBench, RealBench
from tests.adapters.real import RealCluster, install_definition, new_namespace
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


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.apiserver)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Give each of the worlds that a port's contract holds in."""
    return MemoryBench() if request.param == "memory" else RealBench(request.getfixturevalue("real"))
