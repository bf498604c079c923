"""The ways to hold a route, each with a host of its own in the mesh and with what a user has made before."""

from __future__ import annotations

from typing import Any

from modelramp.adapters.gateway import PERCENT_MIRROR, WHOLE_MIRROR
from modelramp.adapters.kinds import GATEWAY, HTTP_ROUTE, SERVICE, VIRTUAL_SERVICE
from modelramp.rollout.templates import ISTIO, ISTIO_LIVE
from tests.adapters.routes import DELEGATE, HTTP, NAME, PATCH, gateway_route, virtual_service
from tests.mesh.sidecar import Role
from tests.mesh.versions import WORKLOAD_ENTRY
from tests.mesh.world import Way

FEATURES = (WHOLE_MIRROR, PERCENT_MIRROR)
SHADOW = {"percent": 100, "minRequests": 150}


def create(namespace: str) -> Way:
    """Return the way in which the operator owns the VirtualService."""
    host = f"{namespace}.example.com"
    return Way({"istio": {"create": {"hosts": [host]}}}, VIRTUAL_SERVICE, NAME, host, shadow=SHADOW)


def delegate(namespace: str) -> Way:
    """Return the way in which a VirtualService of the user's delegates to the operator's."""
    host = f"{namespace}.example.com"
    http = [{"name": "all", "delegate": {"name": NAME}}]
    root = _made(VIRTUAL_SERVICE.api_version, "VirtualService", "root", {"hosts": [host], "http": http})
    return Way(DELEGATE, VIRTUAL_SERVICE, NAME, host, (root,), SHADOW)


def patch(namespace: str) -> Way:
    """Return the way in which a route of the user's VirtualService is steered; another one stays theirs."""
    host = f"{namespace}.example.com"
    health = {"name": "health", "match": [{"uri": {"exact": "/health"}}], "directResponse": {"status": 204}}
    theirs = virtual_service({f"{NAME}-v1": 100}, [health])
    theirs["spec"]["hosts"] = [host]
    return Way(PATCH, VIRTUAL_SERVICE, "shop", host, (theirs,), SHADOW)


def http_route(namespace: str) -> Way:
    """Return the way of a rule in the user's HTTPRoute, whose parent is a Service of the mesh.

    Such a parent does not say what it supports, so there is no shadow. The model servers here count nothing, so
    Istio's counters are asked by name, as by users of a mesh whose images are their own.
    """
    service = _made(SERVICE.api_version, "Service", "shop", {"ports": [{"name": "http", "port": 80}]})
    theirs = gateway_route(HTTP_ROUTE, {f"{NAME}-v1": 100})
    theirs["spec"]["parentRefs"] = [{"group": "", "kind": "Service", "name": "shop", "port": 80}]
    theirs["spec"]["rules"] = [rule for rule in theirs["spec"]["rules"] if rule["name"] != "cart"]
    traffic = {"httpRoute": {**HTTP["httpRoute"], "requestsQuery": ISTIO_LIVE}}
    host, asked = f"shop.{namespace}.svc.cluster.local", {"query": ISTIO["error-rate"].query}
    return Way(traffic, HTTP_ROUTE, "shop", host, (service, theirs), asked=asked)


def gateway(namespace: str) -> Way:
    """Return the way of a rule in the user's HTTPRoute on a Gateway, which mirrors half of the requests.

    The Gateway is one that its user deploys: istiod knows its proxy by the Service that the Gateway names.
    """
    role = Role("router", "10.244.0.60", "public", namespace, "http.80")
    labels, host = {"gateway": role.name}, f"{namespace}.example.com"
    port = {"name": "http", "port": 80}
    service = _made(SERVICE.api_version, "Service", role.name, {"selector": labels, "ports": [port]})
    proxy = _made(
        WORKLOAD_ENTRY.api_version, WORKLOAD_ENTRY.name, role.name, {"address": role.address, "labels": labels}
    )
    address = {"type": "Hostname", "value": f"{role.name}.{namespace}.svc.cluster.local"}
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    spec = {"gatewayClassName": "istio", "addresses": [address], "listeners": [listener]}
    theirs = gateway_route(HTTP_ROUTE, {f"{NAME}-v1": 100})
    theirs["spec"]["hostnames"] = [host]
    theirs["spec"]["rules"] = [rule for rule in theirs["spec"]["rules"] if rule["name"] != "cart"]
    before = (service, proxy, _made(GATEWAY.api_version, GATEWAY.name, role.name, spec), theirs)
    half = {"percent": 50, "minRequests": 100}
    return Way(HTTP, HTTP_ROUTE, "shop", host, before, half, role=role, features=FEATURES)


WAYS = {"create": create, "delegate": delegate, "patch": patch, "httpRoute": http_route, "gateway": gateway}


def _made(api_version: str, kind: str, name: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
