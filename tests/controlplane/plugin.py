"""The pytest fixture: one API server for the whole session."""

from collections.abc import Iterator

import pytest

from tests.controlplane.apiserver import ApiServer, running_api_server


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """Give the tests a real Kubernetes API: RBAC on, no nodes, no controllers."""
    with running_api_server() as server:
        yield server
