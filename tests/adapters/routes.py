"""The kinds of Istio and of the Gateway API on the real API server, and objects of users in them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cluster.tools.definitions import PLURALS, read_definitions
from modelramp.adapters.kinds import GRPC_ROUTE, HTTP_ROUTE, STEERED, VIRTUAL_SERVICE, Kind
from modelramp.rollout.observation import NoData, Reading, Value
from tests.adapters.real import DEFINITIONS
from tests.controlplane import ApiServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "05-own-router" / "apisix.py"
NAME, ROUTE = "fraud-detector", "score"
Spec = Mapping[str, Any]
CREATE: Spec = {"istio": {"create": {"hosts": ["fraud.example.com", "fraud.shop.svc.cluster.local"]}}}
DELEGATE: Spec = {"istio": {"delegate": {}}}
PATCH: Spec = {"istio": {"patch": {"virtualService": "shop", "route": ROUTE}}}
HTTP: Spec = {"httpRoute": {"name": "shop", "rule": ROUTE}}
GRPC: Spec = {"grpcRoute": {"name": "shop", "rule": ROUTE}}


def install_definitions(server: ApiServer, names: Iterable[str] = PLURALS) -> None:
    """Install kinds of Istio and of the Gateway API and wait until all are served."""
    establish(server, read_definitions(names))


def establish(server: ApiServer, definitions: Iterable[Any]) -> None:
    """Install kinds and wait until all are served."""
    waited = set()
    for definition in definitions:
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
    rules = obj["spec"]["rules" if kind in (HTTP_ROUTE, GRPC_ROUTE) else "http"]
    return next((index, rule) for index, rule in enumerate(rules) if rule.get("name") in (ROUTE, NAME))


def host_of(destination: Any) -> str:
    """Return the host of a destination of any kind."""
    host = (destination.get("destination") or {}).get("host")
    return str(host or destination.get("name") or destination.get("serviceName"))


def weights_of(kind: Kind, obj: Any) -> dict[str, int]:
    """Return the stored weight of each host."""
    _, rule = rule_of(kind, obj)
    if kind is VIRTUAL_SERVICE:
        return {each["destination"]["host"]: each.get("weight", 0) for each in rule["route"]}
    return {each["name"]: each.get("weight", 1) for each in rule["backendRefs"]}


def compact(obj: Any) -> str:
    """Return an object as one text."""
    return json.dumps(obj, sort_keys=True)


def load_example() -> Any:
    """Return the module of the example of a router of one's own."""
    spec = importlib.util.spec_from_file_location("apisix", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install_example(server: ApiServer) -> None:
    """Install the example's kind, cut down to a place for any spec, and wait until it is served."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v2", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"kind": "ApisixRoute", "plural": "apisixroutes"}
    spec = {"group": "apisix.apache.org", "names": names, "scope": "Namespaced", "versions": [version]}
    head = {"name": "apisixroutes.apisix.apache.org"}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    establish(server, [{**kind, "metadata": head, "spec": spec}])


def example_route() -> dict[str, Any]:
    """Return a user's ApisixRoute: a rule of theirs, and one to version 7."""
    theirs = {"name": "cart", "backends": [{"serviceName": "cart", "servicePort": 80}]}
    backend = {"serviceName": f"{NAME}-v7", "servicePort": 80, "weight": 100}
    limit = {"name": "limit-req", "enable": True, "config": {"rate": 5}}
    spec = {"http": [theirs, {"name": NAME, "backends": [backend], "plugins": [limit]}]}
    return {
        "apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute",
        "metadata": {"name": NAME, "labels": {STEERED: "true"}}, "spec": spec,
    }  # fmt: skip


USERS = {
    "patch": (PATCH, VIRTUAL_SERVICE, virtual_service({f"{NAME}-v7": 100})),
    "httpRoute": (HTTP, HTTP_ROUTE, gateway_route(HTTP_ROUTE, {f"{NAME}-v7": 100})),
    "grpcRoute": (GRPC, GRPC_ROUTE, gateway_route(GRPC_ROUTE, {f"{NAME}-v7": 100})),
}
OWNED = {"create": CREATE, "delegate": DELEGATE}
