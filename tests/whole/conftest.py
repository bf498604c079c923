"""Fixtures of the whole tests: a stage on the session's API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.real import install_definition
from tests.controlplane import ApiServer
from tests.whole.stage import Stage, staged


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here: all need the API server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("apiserver")


@pytest.fixture(scope="session")
def defined_server(api_server: ApiServer) -> ApiServer:
    """Give an API server that knows ModelDeployments."""
    install_definition(api_server)
    return api_server


@pytest.fixture
async def stage(defined_server: ApiServer, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage of its own to each test."""
    async with staged(defined_server, tmp_path) as it:
        yield it
