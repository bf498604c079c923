"""A Gateway with one ModelDeployment behind it: clients send all the time, Prometheus scrapes the proxy itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from modelramp.adapters.kinds import EVENT, GATEWAY, HTTP_ROUTE, MODEL_DEPLOYMENT, Kind
from modelramp.ports import Ref
from tests.adapters.routes import HTTP, NAME, gateway_route
from tests.controlplane.supervised import free_port
from tests.gateway.envoy_gateway import EnvoyGateway
from tests.gateway.proxy import read_bootstrap, running_proxy
from tests.gateway.versions import serving_versions
from tests.mesh.sidecar import Sidecar
from tests.mesh.versions import Version
from tests.mesh.world import COUNT_EVERY, ERRORS, MODEL, RATE, MeshWorld, Way
from tests.prometheus_server import PrometheusServer
from tests.whole.admin import Admin
from tests.whole.data_path import Load, loading
from tests.whole.manifests import model, steps
from tests.whole.observer import observing
from tests.whole.stage import Stage

CLASS, PUBLIC = "envoy", "public"
ENVOY_PROXY = Kind("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "envoyproxies")
_GROUP, _, _ = ENVOY_PROXY.api_version.partition("/")


@dataclass(frozen=True)
class Wire:
    """What clients and model servers speak, and the kind of route for it."""

    kind: Kind
    traffic: Mapping[str, Any]
    serving: Callable[[Admin, Ref, Iterable[str]], AbstractAsyncContextManager[Mapping[str, Version]]]
    until_served: Callable[[str, str], Awaitable[None]]
    loading: Callable[[str, float, str], AbstractAsyncContextManager[Load]]
    asked: Mapping[str, str]
    """What the guardrail asks."""


@dataclass(frozen=True)
class Proxy:
    """A running Envoy of a Gateway in a namespace; `statistics` is the HOST:PORT/PATH of what it counts."""

    namespace: str
    envoy: Sidecar
    statistics: str


@asynccontextmanager
async def standing_gateway(
    stage: Stage, running: EnvoyGateway, namespace: str, directory: Path, settings: Mapping[str, Any]
) -> AsyncIterator[Proxy]:
    """Have a Gateway with these settings of its EnvoyProxy, and the Envoy that serves it."""
    port = free_port()
    reference = {"group": _GROUP, "kind": ENVOY_PROXY.name, "name": PUBLIC}
    spec = {
        "gatewayClassName": CLASS,
        "infrastructure": {"parametersRef": reference},
        "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}],
    }
    for kind, its in ((ENVOY_PROXY, settings), (GATEWAY, spec)):
        made = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": PUBLIC}, "spec": its}
        await stage.admin.request("POST", kind.path(namespace), made)
    bootstrap = await read_bootstrap(stage.admin, namespace, PUBLIC)
    with running_proxy(running, bootstrap, directory, port) as statistics:
        yield Proxy(namespace, Sidecar(f"http://127.0.0.1:{port}", "", directory), statistics)


@asynccontextmanager
async def playing(
    stage: Stage,
    proxy: Proxy,
    prometheus: PrometheusServer,
    shadow: Mapping[str, Any] | None = None,
    wire: Wire | None = None,
) -> AsyncIterator[MeshWorld]:
    """Create a ModelDeployment on version 1 and yield when it serves; clients send from then on."""
    namespace, http, wire = proxy.namespace, proxy.envoy.http, wire or WEB
    ref = Ref(namespace, NAME)
    way = Way(wire.traffic, wire.kind, "shop", f"{namespace}.example.com", shadow=shadow, asked=wire.asked)
    environment = {"MODELRAMP_PROMETHEUS_URL": prometheus.url}
    prometheus.scrape(proxy.statistics)
    async with AsyncExitStack() as stack:
        versions = await stack.enter_async_context(wire.serving(stage.admin, ref, "1234"))
        counting = asyncio.create_task(_count(prometheus, ref, versions))
        stack.callback(counting.cancel)
        await stage.admin.request("POST", way.kind.path(namespace), _route(way))
        trace = await stack.enter_async_context(observing(stage.admin, namespace, (MODEL_DEPLOYMENT, EVENT, way.kind)))
        operator = await stack.enter_async_context(stage.operator(namespace, environment=environment))
        await stage.admin.create(_manifest(ref, way))
        await trace.until_phase(ref, "Promoted", "1", within=60)
        await wire.until_served(http, way.host)
        load = await stack.enter_async_context(wire.loading(http, RATE, way.host))
        yield MeshWorld(stage, ref, way, trace, versions, proxy.envoy, load, operator)


def _route(way: Way) -> dict[str, Any]:
    theirs = gateway_route(way.kind, {f"{NAME}-v1": 100})
    theirs["spec"]["hostnames"] = [way.host]
    theirs["spec"]["rules"] = [rule for rule in theirs["spec"]["rules"] if rule["name"] != "cart"]
    return theirs


def _manifest(ref: Ref, way: Way) -> dict[str, Any]:
    ramp = {"steps": steps(10, 50, 100, hold="2s")}
    shadow = {"shadow": way.shadow} if way.shadow else {}
    return model(ref, "1", traffic=way.traffic, ramp=ramp, guardrails=[{**ERRORS, **way.asked}], **shadow)


async def _until_served(url: str, host: str) -> None:
    """Wait until the proxy knows the first version: only then there are clients."""
    async with aiohttp.ClientSession(headers={"Host": host}) as session, asyncio.timeout(30):
        while True:
            with suppress(aiohttp.ClientError):
                async with session.post(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


def _loading(url: str, per_second: float, host: str) -> AbstractAsyncContextManager[Load]:
    return loading(url, per_second, host=host)


WEB = Wire(HTTP_ROUTE, HTTP, serving_versions, _until_served, _loading, {"template": "error-rate"})


async def _count(prometheus: PrometheusServer, ref: Ref, versions: Mapping[str, Version]) -> None:
    """Expose what the model servers count, under the names that our runtime gives it."""
    while True:
        prometheus.exporter.expose(
            {
                f'modelramp_requests_total{{namespace="{ref.namespace}",model="{MODEL}.{ref.namespace}",'
                f'version="{version.number}",code="{code}"}}': count
                for version in versions.values()
                for code, count in version.answers.items()
            }
        )
        await asyncio.sleep(COUNT_EVERY)
