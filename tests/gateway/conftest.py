"""Fixtures of the gateway: one Envoy Gateway for the session. Skipped, saying so, where it cannot be run."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelramp.adapters.gateway import PERCENT_MIRROR, WHOLE_MIRROR
from modelramp.adapters.kinds import GATEWAY_CLASS
from tests.adapters.real import install_definition
from tests.adapters.routes import install_definitions
from tests.controlplane import ApiServer
from tests.gateway.envoy_gateway import CONTROLLER, EnvoyGateway, install_proxy_kind, running_envoy_gateway
from tests.gateway.versions import machine_address
from tests.gateway.world import CLASS
from tests.whole.admin import MERGE
from tests.whole.stage import Stage, staged


@pytest.fixture(scope="session")
def envoy_gateway(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnvoyGateway]:
    """Give a running Envoy Gateway with a class of its own, on an API server with our kind and the gateways'."""
    if not machine_address():
        pytest.skip("needs an address besides the loopback: endpoints must have one")
    if os.geteuid() != 0 and not shutil.which("unshare"):
        pytest.skip("needs root or unshare, to give Envoy Gateway the /certs that it reads")
    install_definition(api_server)
    install_definitions(api_server)
    install_proxy_kind(api_server)
    with running_envoy_gateway(api_server, tmp_path_factory.mktemp("envoy-gateway")) as running:
        _make_class(api_server)
        yield running


@pytest.fixture
async def stage(api_server: ApiServer, envoy_gateway: EnvoyGateway, tmp_path: Path) -> AsyncIterator[Stage]:
    """Give a stage of its own to each test."""
    assert envoy_gateway
    async with staged(api_server, tmp_path) as it:
        yield it


def _make_class(server: ApiServer) -> None:
    """Make its class, and say in the status what it mirrors: Envoy Gateway leaves that to whoever runs it."""
    head = {"apiVersion": GATEWAY_CLASS.api_version, "kind": GATEWAY_CLASS.name, "metadata": {"name": CLASS}}
    server.request("POST", GATEWAY_CLASS.path(None), {**head, "spec": {"controllerName": CONTROLLER}})
    changes = server.watch(f"{GATEWAY_CLASS.path(None)}?watch=true&timeoutSeconds=20")
    assert any(_is_accepted(event["object"]) for event in changes), "Envoy Gateway takes its class"
    features = [{"name": name} for name in sorted((WHOLE_MIRROR, PERCENT_MIRROR))]
    path = GATEWAY_CLASS.path(None, CLASS, "status")
    server.request("PATCH", path, {"status": {"supportedFeatures": features}}, kind=MERGE)


def _is_accepted(made: Any) -> bool:
    conditions = (made.get("status") or {}).get("conditions") or ()
    accepted = any((each["type"], each["status"]) == ("Accepted", "True") for each in conditions)
    return accepted and made["metadata"]["name"] == CLASS
