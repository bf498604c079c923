"""The API on the real API server."""

from __future__ import annotations

import pytest

from tests.api.served import Served, install
from tests.controlplane import ApiServer

NAMESPACE = "api-tests"


@pytest.fixture(scope="package")
def served(api_server: ApiServer) -> Served:
    """Give the tests ModelDeployments in a namespace of their own."""
    install(api_server)
    api_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    return Served(api_server, NAMESPACE)
