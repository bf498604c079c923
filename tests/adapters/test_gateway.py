"""Routes of the Gateway API: what their status and their gateways' classes allow, on a real API server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from modelramp.adapters.gateway import rejection_of
from modelramp.adapters.kinds import GATEWAY, GATEWAY_CLASS, HTTP_ROUTE, Kind
from modelramp.ports import Done, Rollout
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Split, Value
from modelramp.rollout.spec import Plan, Shadow
from modelramp.rollout.status import Attempt, AttemptKind, Phase, Status
from tests.adapters.real import Process, RealCluster, pin, read
from tests.adapters.routes import HTTP, NAME, gateway_route, rule_of, weights_of
from tests.controlplane import ApiServer

pytestmark = pytest.mark.apiserver
V7, V8 = f"{NAME}-v7", f"{NAME}-v8"
RAMPING = Status(stable=pin("7"), candidate=pin("8"))
BEGUN = datetime(2026, 1, 5, tzinfo=UTC)


def shadowed(percent: int) -> Status:
    attempt = Attempt("8-a", "8", AttemptKind.FRESH, "", Plan(shadow=Shadow(percent)), BEGUN, BEGUN)
    return replace(RAMPING, phase=Phase.STARTING, attempt=attempt)


def to_8(percent: int, *, mirrored: int = 0, retreat: bool = False) -> SetTraffic:
    split = Split({"7": 100 - percent, "8": percent}, {"8": mirrored} if mirrored else {})
    return SetTraffic(split, "7", ("7", "8"), retreat=retreat, why="test")


@pytest.fixture
async def routed(meshes: ApiServer, real: RealCluster) -> tuple[Process, Rollout]:
    """Give a process, and a ModelDeployment on a rule of a user's HTTPRoute."""
    assert meshes
    await real.request("POST", HTTP_ROUTE.path(real.namespace), gateway_route(HTTP_ROUTE, {V7: 100}))
    process = real.process()
    rollout = await read(process, await real.create_model(NAME, traffic=HTTP))
    return process, replace(rollout, status=RAMPING)


async def stand_up_gateway(real: RealCluster, features: list[str]) -> None:
    """Create the Gateway of the route, and a class that says that it supports these."""
    name = f"class-{real.namespace}"
    spec = {"controllerName": "example.com/gateway"}
    await real.request("POST", GATEWAY_CLASS.path(None), made(GATEWAY_CLASS, name, spec))
    status = {"status": {"conditions": [], "supportedFeatures": [{"name": each} for each in sorted(features)]}}
    merge = "application/merge-patch+json"
    await real.request("PATCH", GATEWAY_CLASS.path(None, name, "status"), status, kind=merge)
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    gateway = made(GATEWAY, "public", {"gatewayClassName": name, "listeners": [listener]})
    await real.request("POST", GATEWAY.path(real.namespace), gateway)


def made(kind: Kind, name: str, spec: Any) -> Any:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, "spec": spec}


async def refusal(process: Process, rollout: Rollout, percent: int) -> str:
    found = await process.traffic.read(replace(rollout, status=shadowed(percent)))
    assert isinstance(found, Value)
    return found.value.refuses


@pytest.mark.parametrize(
    ("features", "percent", "lacks"),
    [
        ([], 100, "HTTPRouteRequestMirror"),
        (["HTTPRouteRequestMirror"], 100, ""),
        (["HTTPRouteRequestMirror"], 30, "HTTPRouteRequestPercentageMirror"),
        (["HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror"], 30, ""),
    ],
)
async def test_a_shadow_needs_a_class_that_says_that_it_mirrors_so(
    real: RealCluster, routed: tuple[Process, Rollout], features: list[str], percent: int, lacks: str
) -> None:
    await stand_up_gateway(real, features)
    said = await refusal(*routed, percent)
    assert said == (f"Gateway public does not say that it supports {lacks}" if lacks else "")


async def test_without_its_gateway_nothing_is_known_to_be_supported(routed: tuple[Process, Rollout]) -> None:
    assert "whether public supports HTTPRouteRequestMirror is not known" in await refusal(*routed, 100)


async def test_the_mirror_is_one_filter_that_goes_as_it_came(
    real: RealCluster, routed: tuple[Process, Rollout]
) -> None:
    process, rollout = routed
    _, before = rule_of(HTTP_ROUTE, await real.get(HTTP_ROUTE, "shop"))
    assert await process.traffic.write(rollout, to_8(0, mirrored=30)) == Done()
    _, rule = rule_of(HTTP_ROUTE, await real.get(HTTP_ROUTE, "shop"))
    backend = {"group": "", "kind": "Service", "name": V8, "port": 80}
    assert rule["filters"] == [{"type": "RequestMirror", "requestMirror": {"backendRef": backend, "percent": 30}}]
    assert await process.traffic.write(rollout, to_8(0, retreat=True)) == Done()
    _, rule = rule_of(HTTP_ROUTE, await real.get(HTTP_ROUTE, "shop"))
    assert rule.keys() == before.keys()


async def test_filters_of_others_stay_where_they_are(real: RealCluster, routed: tuple[Process, Rollout]) -> None:
    process, rollout = routed
    index, _ = rule_of(HTTP_ROUTE, await real.get(HTTP_ROUTE, "shop"))
    audit = {"group": "", "kind": "Service", "name": "audit", "port": 80}
    theirs = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "x-team", "value": "fraud"}]}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": audit}},
    ]
    patch = [{"op": "add", "path": f"/spec/rules/{index}/filters", "value": theirs}]
    path = HTTP_ROUTE.path(real.namespace, "shop")
    await real.request("PATCH", path, patch, kind="application/json-patch+json")
    await process.writer.refresh(HTTP_ROUTE, real.namespace, "shop")
    for wanted in (to_8(0, mirrored=100), to_8(10), to_8(0, retreat=True)):
        assert await process.traffic.write(rollout, wanted) == Done()
        _, rule = rule_of(HTTP_ROUTE, await real.get(HTTP_ROUTE, "shop"))
        assert rule["filters"][:2] == theirs
        assert len(rule["filters"]) == (3 if wanted.split.mirror else 2)


async def test_a_legacy_service_keeps_its_place_without_weight(
    real: RealCluster, routed: tuple[Process, Rollout]
) -> None:
    process, rollout = routed
    legacy = gateway_route(HTTP_ROUTE, {"legacy": 1})["spec"]
    await real.merge(HTTP_ROUTE, "shop", {"spec": legacy})
    await process.writer.refresh(HTTP_ROUTE, real.namespace, "shop")
    first = SetTraffic(Split({"7": 100}), "7", ("7",), retreat=False, why="Ready")
    assert await process.traffic.write(rollout, first) == Done()
    assert weights_of(HTTP_ROUTE, await real.get(HTTP_ROUTE, "shop")) == {"legacy": 0, V7: 100}


def condition(kind: str, status: str, generation: int, reason: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "observedGeneration": generation, "reason": reason}


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([condition("Accepted", "True", 4), condition("ResolvedRefs", "True", 4)], ""),
        (
            [condition("Accepted", "True", 3), condition("ResolvedRefs", "True", 4)],
            "gateway public has not looked at the newest route",
        ),
        (
            [condition("Accepted", "True", 4), condition("ResolvedRefs", "False", 4, "RefNotPermitted")],
            "gateway public: ResolvedRefs is False: RefNotPermitted",
        ),
        ([condition("Accepted", "True", 4)], "gateway public has not looked at the newest route"),
        (None, "gateway public has not taken up the route"),
    ],
)
def test_a_route_is_taken_up_when_its_parents_say_so_of_its_newest_generation(
    conditions: list[dict[str, Any]] | None, said: str
) -> None:
    parents = [] if conditions is None else [{"parentRef": {"name": "public"}, "conditions": conditions}]
    assert rejection_of(taken_up(parents, {"name": "public"})) == said


def taken_up(entries: list[dict[str, Any]], *parents: dict[str, Any]) -> dict[str, Any]:
    metadata = {"namespace": "shop", "generation": 4}
    return {"metadata": metadata, "spec": {"parentRefs": list(parents)}, "status": {"parents": entries}}


def test_a_parent_that_says_nothing_has_not_taken_up_the_route_whatever_others_say() -> None:
    conditions = [condition("Accepted", "True", 4), condition("ResolvedRefs", "True", 4)]
    entries = [{"parentRef": {"name": "public", "namespace": "shop"}, "conditions": conditions}]
    assert rejection_of(taken_up(entries, {"name": "public"})) == ""
    both = {"name": "public"}, {"name": "inner", "namespace": "infra"}
    assert rejection_of(taken_up(entries, *both)) == "gateway infra/inner has not taken up the route"
    assert rejection_of(taken_up([])) == "no gateway has taken up the route"


def test_what_a_gateway_said_that_the_route_names_no_more_holds_up_nothing() -> None:
    conditions = [condition("Accepted", "True", 4), condition("ResolvedRefs", "True", 4)]
    left = {"parentRef": {"name": "gone"}, "conditions": [condition("Accepted", "True", 3)]}
    entries = [left, {"parentRef": {"name": "public"}, "conditions": conditions}]
    assert rejection_of(taken_up(entries, {"name": "public"})) == ""
    assert rejection_of(taken_up([left])) == "no gateway has taken up the route"
