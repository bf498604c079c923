"""Fixtures of the mesh: one istiod for the session. Skipped, saying so, where there is no istiod."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cluster.tools.definitions import PLURALS
from cluster.tools.istiod import MISSING, find_istiod
from tests.adapters.real import install_definition
from tests.adapters.routes import install_definitions
from tests.controlplane import ApiServer
from tests.mesh.istiod import NAMESPACE, Istiod, running_istiod
from tests.whole.stage import Stage, staged

KINDS = PLURALS | {"workloadentries.networking.istio.io"}


@pytest.fixture(scope="session")
def istiod_program() -> Path:
    """Give istiod's program."""
    found = find_istiod()
    if found is None:
        pytest.skip(MISSING)
    return found


@pytest.fixture(scope="session")
def meshed_server(istiod_program: Path, api_server: ApiServer) -> ApiServer:
    """Give an API server with our kind and the mesh's."""
    assert istiod_program
    install_definition(api_server)
    install_definitions(api_server, KINDS)
    api_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    return api_server


@pytest.fixture(scope="session")
def istiod(
    istiod_program: Path, meshed_server: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Istiod]:
    """Give a running istiod."""
    with running_istiod(istiod_program, meshed_server, tmp_path_factory.mktemp("istiod")) as running:
        yield running


@pytest.fixture
async def stage(meshed_server: ApiServer, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage of its own to each test."""
    async with staged(meshed_server, tmp_path) as it:
        yield it
