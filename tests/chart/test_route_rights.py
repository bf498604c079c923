"""The rights for routes of a mesh or a gateway, on a real API server: there where they are asked for, and enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import aiohttp
import pytest

from modelramp.adapters.kinds import GATEWAY, GATEWAY_CLASS, GRPC_ROUTE, HTTP_ROUTE, ROUTE_KINDS, VIRTUAL_SERVICE
from modelramp.adapters.kubernetes import Cluster, Listing, Missing
from modelramp.ports import Done
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Split
from modelramp.rollout.status import Status
from tests.adapters.real import Process, RealCluster, install_definition, new_namespace, pin, read
from tests.adapters.routes import CREATE, HTTP, NAME, PATCH, gateway_route, install_definitions, virtual_service
from tests.chart.rendering import rendered
from tests.chart.test_rights import EVERYWHERE, FOR_ALL, Installed, apply, granted, path_of
from tests.controlplane import ApiServer

pytestmark = pytest.mark.apiserver
WITH_ROUTES = {
    "virtualservices.networking.istio.io": {"get", "list", "watch", "create", "patch"},
    "destinationrules.networking.istio.io": {"get", "list", "watch", "create", "patch", "delete"},
    "httproutes.gateway.networking.k8s.io": {"get", "list", "watch", "patch"},
    "grpcroutes.gateway.networking.k8s.io": {"get", "list", "watch", "patch"},
}
CLASSES = {
    "gateways.gateway.networking.k8s.io": {"get"},
    "gatewayclasses.gateway.networking.k8s.io": {"get"},
}
TENTH_ON_8 = SetTraffic(Split({"7": 90, "8": 10}), "7", ("7", "8"), retreat=False, why="step 2")


@pytest.fixture(scope="module")
def meshes(api_server: ApiServer) -> ApiServer:
    """Give an API server that knows every kind of route."""
    install_definition(api_server)
    install_definitions(api_server)
    return api_server


@pytest.fixture
def installed(meshes: ApiServer) -> Iterator[Installed]:
    """Give a release for one namespace, with the rights for both kinds of routes."""
    models, home = new_namespace(meshes), new_namespace(meshes)
    values = {"crds": {"install": False}, "admission": {"enabled": False}, "namespaces": [models]}
    objects = rendered(values | {"istio": {"enabled": True}, "gatewayApi": {"enabled": True}}, namespace=home)
    for obj in objects:
        apply(meshes, obj)
    operator = meshes.mint(f"system:serviceaccount:{home}:modelramp", "system:serviceaccounts")
    yield Installed(meshes, operator, models, home, serves_all=False)
    for obj in objects:
        if obj["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            meshes.request("DELETE", path_of(obj))


@pytest.fixture
async def process(installed: Installed) -> AsyncIterator[Process]:
    """Give an operator process with these rights."""
    cluster = await Cluster.connect(installed.operator.kubeconfig, on_call=installed.count)
    async with aiohttp.ClientSession() as session:
        yield Process(cluster, session)
    await cluster.close()


def test_they_are_added_to_the_usual_ones_and_reach_no_other_namespace(installed: Installed) -> None:
    assert granted(installed, installed.models) == EVERYWHERE | WITH_ROUTES | CLASSES | FOR_ALL
    assert granted(installed, "kube-system") == CLASSES | FOR_ALL


async def test_they_are_enough_for_what_the_operator_does_to_routes(installed: Installed, process: Process) -> None:
    admin = RealCluster(installed.server, installed.models, process.cluster, process.session)
    await admin.request("POST", VIRTUAL_SERVICE.path(installed.models), virtual_service({f"{NAME}-v7": 100}))
    await admin.request("POST", HTTP_ROUTE.path(installed.models), gateway_route(HTTP_ROUTE, {f"{NAME}-v7": 100}))
    for name, traffic in {NAME: CREATE, "fraud-patch": PATCH, "fraud-http": HTTP}.items():
        ref = await admin.create_model(name, traffic=traffic)
        rollout = replace(await read(process, ref), status=Status(stable=pin("7"), candidate=pin("8")))
        assert await process.traffic.write(rollout, TENTH_ON_8) == Done(), name
    for kind in ROUTE_KINDS:
        assert isinstance(await process.cluster.list(kind, installed.models), Listing)
    assert isinstance(await process.cluster.get(GATEWAY, "kube-system", "none"), Missing)
    assert isinstance(await process.cluster.get(GATEWAY_CLASS, "", "none"), Missing)
    assert isinstance(await process.cluster.get(GRPC_ROUTE, installed.models, "none"), Missing)
    assert not installed.refused
