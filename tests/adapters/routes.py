"""The kinds of Istio and of the Gateway API on the real API server, and objects of users in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cluster.tools.definitions import read_definitions
from modelramp.adapters.kinds import GRPC_ROUTE, HTTP_ROUTE, STEERED, VIRTUAL_SERVICE, Kind
from modelramp.rollout.observation import NoData, Reading, Value
from tests.adapters.real import DEFINITIONS
from tests.controlplane import ApiServer

NAME, ROUTE = "fraud-detector", "score"
Spec = Mapping[str, Any]
CREATE: Spec = {"istio": {"create": {"hosts": ["fraud.example.com", "fraud.shop.svc.cluster.local"]}}}
DELEGATE: Spec = {"istio": {"delegate": {}}}
PATCH: Spec = {"istio": {"patch": {"virtualService": "shop", "route": ROUTE}}}
HTTP: Spec = {"httpRoute": {"name": "shop", "rule": ROUTE}}
GRPC: Spec = {"grpcRoute": {"name": "shop", "rule": ROUTE}}


def install_definitions(server: ApiServer) -> None:
    """Install the kinds and wait until all are served."""
    waited = set()
    for definition in read_definitions():
        name = definition["metadata"]["name"]
        path = f"{DEFINITIONS}/{name}?fieldManager=test&force=true"
        server.request("PATCH", path, definition, kind="application/apply-patch+yaml")
        waited.add(name)
    for event in server.watch(f"{DEFINITIONS}?watch=true&timeoutSeconds=20"):
        conditions = (event["object"].get("status") or {}).get("conditions") or []
        if any((each["type"], each["status"]) == ("Established", "True") for each in conditions):
            waited.discard(event["object"]["metadata"]["name"])
        if not waited:
            return
    raise AssertionError(f"not established within 20 s: {waited}")


class Tally:
    """A Prometheus that answers with counts by the version's Service that a query names."""

    def __init__(self) -> None:
        self.live: dict[str, int] = {}
        self.mirrored: dict[str, int] = {}
        self.asked: list[str] = []

    async def query(self, promql: str) -> Reading[float]:
        self.asked.append(promql)
        counts = self.mirrored if "destination_workload=" in promql else self.live
        found = [count for version, count in counts.items() if f'{NAME}-v{version}"' in promql]
        return Value(float(found[0])) if found else NoData("EmptyResult", promql)


def virtual_service(destinations: Mapping[str, int], foreign: Iterable[Any] = (), **metadata: Any) -> dict[str, Any]:
    """Return a user's VirtualService: their routes, and one to these hosts with these weights."""
    route = [{"destination": {"host": host}, "weight": weight} for host, weight in destinations.items()]
    spec = {"hosts": ["shop.example.com"], "http": [*foreign, {"name": ROUTE, "route": route}]}
    return _user_object(VIRTUAL_SERVICE, spec, metadata)


def gateway_route(kind: Kind, destinations: Mapping[str, int], **metadata: Any) -> dict[str, Any]:
    """Return a user's HTTPRoute or GRPCRoute: a rule of theirs, and one to these Services with these weights."""
    backends = [{"name": name, "port": 80, "weight": weight} for name, weight in destinations.items()]
    theirs = {"name": "cart", "backendRefs": [{"name": "cart", "port": 80}]}
    rules = [theirs, {"name": ROUTE, "backendRefs": backends}]
    return _user_object(kind, {"parentRefs": [{"name": "public"}], "rules": rules}, metadata)


def _user_object(kind: Kind, spec: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    head = {"name": "shop", "labels": {STEERED: "true"}, **metadata}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": head, "spec": spec}


def rule_of(kind: Kind, obj: Any) -> tuple[int, Any]:
    """Return where our rule stands, and the rule."""
    rules = obj["spec"]["http" if kind is VIRTUAL_SERVICE else "rules"]
    return next((index, rule) for index, rule in enumerate(rules) if rule.get("name") in (ROUTE, NAME))


def weights_of(kind: Kind, obj: Any) -> dict[str, int]:
    """Return the stored weight of each host."""
    _, rule = rule_of(kind, obj)
    if kind is VIRTUAL_SERVICE:
        return {each["destination"]["host"]: each.get("weight", 0) for each in rule["route"]}
    return {each["name"]: each.get("weight", 1) for each in rule["backendRefs"]}


def compact(obj: Any) -> str:
    """Return an object as one text."""
    return json.dumps(obj, sort_keys=True)


USERS = {
    "patch": (PATCH, VIRTUAL_SERVICE, virtual_service({f"{NAME}-v7": 100})),
    "httpRoute": (HTTP, HTTP_ROUTE, gateway_route(HTTP_ROUTE, {f"{NAME}-v7": 100})),
    "grpcRoute": (GRPC, GRPC_ROUTE, gateway_route(GRPC_ROUTE, {f"{NAME}-v7": 100})),
}
OWNED = {"create": CREATE, "delegate": DELEGATE}
