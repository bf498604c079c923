"""Fixtures of the loop's tests on a real API server."""

import pytest

from tests.adapters.real import install_definition
from tests.controlplane import ApiServer
from tests.loop.live import Namespace


@pytest.fixture(scope="session")
def serving(api_server: ApiServer) -> ApiServer:
    """Give an API server that knows ModelDeployments."""
    install_definition(api_server)
    return api_server


@pytest.fixture
def namespace(serving: ApiServer) -> Namespace:
    """Give a namespace of its own."""
    return Namespace(serving)
