"""What Envoy Gateway says of references from one namespace to another, and how it is told on."""

from __future__ import annotations

from typing import Any

import pytest

from modelramp.adapters.kinds import EVENT, GATEWAY, HTTP_ROUTE, MODEL_DEPLOYMENT, SERVICE, Kind
from modelramp.ports import Ref
from tests.adapters.routes import HTTP, NAME, gateway_route
from tests.controlplane.supervised import free_port
from tests.gateway.world import CLASS
from tests.prometheus_server import PrometheusServer
from tests.whole.admin import JSON_PATCH, MERGE
from tests.whole.manifests import model, steps
from tests.whole.observer import Trace, observing
from tests.whole.stage import Stage

pytestmark = pytest.mark.timeout(600)  # the first time Envoy Gateway is compiled
REFERENCE_GRANT = Kind("gateway.networking.k8s.io/v1", "ReferenceGrant", "referencegrants")


async def test_a_gateway_and_a_backend_of_another_namespace_are_for_their_owners_to_allow(
    stage: Stage, prometheus: PrometheusServer
) -> None:
    ours, theirs = await stage.namespace(), await stage.namespace()
    ref, inner = Ref(ours, NAME), f"{theirs}/inner"
    await make(stage, GATEWAY, theirs, "inner", gateway_spec())
    await make(stage, SERVICE, theirs, "cart", {"ports": [{"name": "http", "port": 80}]})
    route = gateway_route(HTTP_ROUTE, {f"{NAME}-v1": 100})
    route["spec"]["parentRefs"] = [{"name": "inner", "namespace": theirs}]
    route["spec"]["rules"] = [rule for rule in route["spec"]["rules"] if rule["name"] != "cart"]
    await stage.admin.request("POST", HTTP_ROUTE.path(ours), route)

    environment = {"MODELRAMP_PROMETHEUS_URL": prometheus.url}
    async with (
        observing(stage.admin, ours, (MODEL_DEPLOYMENT, EVENT, HTTP_ROUTE)) as trace,
        stage.operator(ours, environment=environment),
    ):
        await stage.admin.create(model(ref, "1", traffic=HTTP, ramp={"steps": steps(10, 100)}))
        await trace.until_phase(ref, "Promoted", "1")
        await stage.pin(ref, "2")
        await says(trace, ref, f"gateway {inner}: Accepted is False: NotAllowedByListeners")

        listener = {"op": "add", "path": "/spec/listeners/0/allowedRoutes", "value": {"namespaces": {"from": "All"}}}
        await stage.admin.request("PATCH", GATEWAY.path(theirs, "inner"), [listener], JSON_PATCH)
        await requests_are_all_that_is_missing(trace, ref)

        backend = {"name": "cart", "namespace": theirs, "port": 80}
        rule = {"op": "add", "path": "/spec/rules/-", "value": {"name": "cart", "backendRefs": [backend]}}
        await stage.admin.request("PATCH", HTTP_ROUTE.path(ours, "shop"), [rule], JSON_PATCH)
        await says(trace, ref, f"gateway {inner}: ResolvedRefs is False: RefNotPermitted")

        grant = {"from": [granted(HTTP_ROUTE, namespace=ours)], "to": [{"group": "", "kind": SERVICE.name}]}
        await make(stage, REFERENCE_GRANT, theirs, "cart", grant)
        await requests_are_all_that_is_missing(trace, ref)

        parents = [*route["spec"]["parentRefs"], {"name": "none", "namespace": theirs}]
        await stage.admin.request("PATCH", HTTP_ROUTE.path(ours, "shop"), {"spec": {"parentRefs": parents}}, MERGE)
        await says(trace, ref, f"gateway {theirs}/none has not taken up the route")


def gateway_spec() -> dict[str, Any]:
    listener = {"name": "http", "port": free_port(), "protocol": "HTTP"}
    return {"gatewayClassName": CLASS, "listeners": [listener]}


def granted(kind: Kind, **more: str) -> dict[str, str]:
    return {"group": kind.api_version.partition("/")[0], "kind": kind.name, **more}


async def make(stage: Stage, kind: Kind, namespace: str, name: str, spec: Any) -> None:
    made = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, "spec": spec}
    await stage.admin.request("POST", kind.path(namespace), made)


async def says(trace: Trace, ref: Ref, objection: str) -> None:
    """Wait until the status of the ModelDeployment ends with an objection of the route's."""

    def holds() -> bool:
        status = trace.status(ref)
        return status["reason"] == "WaitingForEffect" and str(status["message"]).endswith(f": {objection}")

    await trace.until(holds, lambda: f"{objection}; it is {trace.status(ref)['message']}")


async def requests_are_all_that_is_missing(trace: Trace, ref: Ref) -> None:
    def stands() -> str:
        return f"only requests are missing; it is {trace.status(ref)['reason']}, {trace.status(ref)['message']}"

    await trace.until(lambda: trace.status(ref)["reason"] == "TooFewRequests", stands)
