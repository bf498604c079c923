"""The ways to hold a route, each with a host of its own in the mesh and with what a user has made before."""

from __future__ import annotations

from typing import Any

from modelramp.adapters.kinds import HTTP_ROUTE, SERVICE, VIRTUAL_SERVICE
from modelramp.rollout.templates import ISTIO, ISTIO_LIVE
from tests.adapters.routes import DELEGATE, HTTP, NAME, PATCH, gateway_route, virtual_service
from tests.mesh.world import Way

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


WAYS = {"create": create, "delegate": delegate, "patch": patch, "httpRoute": http_route}


def _made(api_version: str, kind: str, name: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}
