"""A mesh with one ModelDeployment in it: clients send all the time, Prometheus counts, an observer keeps each write."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from modelramp.adapters.kinds import (
    EVENT,
    GATEWAY,
    GATEWAY_CLASS,
    HTTP_ROUTE,
    MODEL_DEPLOYMENT,
    SERVICE,
    VIRTUAL_SERVICE,
    Kind,
)
from modelramp.ports import Ref
from modelramp.rollout.queries import service
from tests.adapters.routes import NAME, rule_of, weights_of
from tests.mesh.sidecar import CLIENT, Role, Sidecar
from tests.mesh.versions import WORKLOAD_ENTRY, Version, serving_versions
from tests.prometheus_server import PrometheusServer
from tests.whole.admin import MERGE, Admin
from tests.whole.data_path import Load, loading
from tests.whole.manifests import model, steps
from tests.whole.observer import Trace, observing
from tests.whole.process import OperatorProcess
from tests.whole.stage import Stage

MODEL = "fraud_detector"
RATE = 120.0  # requests per second
COUNT_EVERY = 0.2  # seconds
ERRORS = {"name": "errors", "max": 0.05, "interval": "1s", "window": "5s", "minPasses": 1}


@dataclass(frozen=True)
class Way:
    """One way to hold a route: the kind that has the weights, its name, and what users have made before."""

    traffic: Mapping[str, Any]
    kind: Kind
    route: str
    host: str
    theirs: tuple[Mapping[str, Any], ...] = ()
    shadow: Mapping[str, Any] | None = None
    asked: Mapping[str, str] = field(default_factory=lambda: {"template": "error-rate"})
    """What the guardrail asks."""
    role: Role = CLIENT
    """The proxy that clients go through."""
    features: tuple[str, ...] = ()
    """What the GatewayClass is said to support; istiod leaves that to whoever runs it."""


@dataclass(frozen=True)
class Stretch:
    """A split as it was stored, from when to when, and since when the operator says that it is in effect; monotonic."""

    weights: Mapping[str, int]
    mirrored: bool
    since: float
    until: float
    settled: float | None


@dataclass
class MeshWorld:
    """What plays together."""

    stage: Stage
    ref: Ref
    way: Way
    trace: Trace
    versions: Mapping[str, Version]
    sidecar: Sidecar
    load: Load
    operator: OperatorProcess

    async def until(self, phase: str, version: str = "", reason: str = "") -> None:
        """Wait for a phase, and for a reason where one is named."""
        await self.trace.until_phase(self.ref, phase, version, within=90)
        if reason:
            await self.trace.until(lambda: self.trace.status(self.ref)["reason"] == reason, reason)

    async def until_weight(self, version: str, percent: int, within: float = 60.0) -> None:
        """Wait until a version has this share in the stored route."""

        def stands() -> str:
            return f"version {version} has {percent} %; it is {self.weights()}, {self.trace.status(self.ref)}"

        await self.trace.until(lambda: self.weights().get(version, 0) == percent, stands, within)

    def weights(self) -> dict[str, int]:
        """Return the stored shares, versions without traffic left out."""
        newest = self.trace.newest(self.way.kind, self.way.route)
        return _weights(self.way.kind, newest.object) if newest else {}

    def stretches(self) -> Iterator[Stretch]:
        """Yield the splits that were stored, one after the other; writes that change no number are none."""
        found: list[Stretch] = []
        for revision in self.trace.revisions(self.way.kind, self.way.route):
            weights, mirrored = _weights(self.way.kind, revision.object), _is_mirrored(self.way.kind, revision.object)
            if found and (found[-1].weights, found[-1].mirrored) == (weights, mirrored):
                continue
            settled = self._settled(weights, mirrored, revision.at)
            found.append(Stretch(weights, mirrored, revision.at, time.monotonic(), settled))
        ends = [*(stretch.since for stretch in found[1:]), time.monotonic()]
        return (replace(each, until=end) for each, end in zip(found, ends, strict=True))

    def _settled(self, weights: Mapping[str, int], mirrored: bool, since: float) -> float | None:
        """Return when the operator first said that a split of an attempt is in effect."""
        for revision in self.trace.revisions(MODEL_DEPLOYMENT, self.ref.name):
            status = revision.object.get("status") or {}
            share = weights.get((status.get("candidate") or {}).get("version", ""), 0)
            named = (status.get("phase"), status.get("weight", 0)) == ("Shadowing" if mirrored else "Ramping", share)
            if revision.at >= since and named and "settledAt" in status["attempt"]:
                return revision.at
        return None

    def answers(self, since: float, until: float = float("inf")) -> Counter[str]:
        """Count who answered the clients in a time."""
        return Counter(said for at, said in self.load.answers if since <= at < until)

    async def first_answer(self, version: str) -> float:
        """Return when a request that was sent from now on is first answered by this version, monotonic."""
        async with aiohttp.ClientSession(headers={"Host": self.way.host}) as session, asyncio.timeout(20):
            while True:
                async with session.post(self.sidecar.http) as answer:
                    if await answer.text() == version:
                        return time.monotonic()


@asynccontextmanager
async def playing(
    stage: Stage, sidecar: Sidecar, prometheus: PrometheusServer, way: Way, namespace: str
) -> AsyncIterator[MeshWorld]:
    """Create a ModelDeployment on version 1 and yield when it serves; clients send from then on."""
    ref = Ref(namespace, NAME)
    environment = {"MODELRAMP_PROMETHEUS_URL": prometheus.url}
    async with AsyncExitStack() as stack:
        versions = await stack.enter_async_context(serving_versions(stage.admin, ref, "1234"))
        counting = asyncio.create_task(_count(prometheus, sidecar, ref, versions))
        stack.callback(counting.cancel)
        for obj in way.theirs:
            await stage.admin.request("POST", _THEIRS[obj["kind"]].path(namespace), obj)
        if way.features:
            await _declare(stage.admin, way.features)
        trace = await stack.enter_async_context(observing(stage.admin, namespace, (MODEL_DEPLOYMENT, EVENT, way.kind)))
        operator = await stack.enter_async_context(stage.operator(namespace, environment=environment))
        await stage.admin.create(_manifest(ref, way))
        await trace.until_phase(ref, "Promoted", "1", within=60)
        await _until_served(sidecar, way)
        load = await stack.enter_async_context(loading(sidecar.http, RATE, host=way.host))
        yield MeshWorld(stage, ref, way, trace, versions, sidecar, load, operator)


_THEIRS = {kind.name: kind for kind in (SERVICE, VIRTUAL_SERVICE, HTTP_ROUTE, GATEWAY, WORKLOAD_ENTRY)}


async def _declare(admin: Admin, features: Iterable[str]) -> None:
    """Write into the status of istiod's GatewayClass what it supports, once istiod has made the class."""
    async with asyncio.timeout(30):
        while (await admin.get(GATEWAY_CLASS, "", "istio") or {}).get("status") is None:  # noqa: ASYNC110 no bell
            await asyncio.sleep(0.05)
    status = {"status": {"supportedFeatures": [{"name": name} for name in sorted(features)]}}
    await admin.request("PATCH", GATEWAY_CLASS.path(None, "istio", "status"), status, MERGE)


def _manifest(ref: Ref, way: Way) -> dict[str, Any]:
    ramp = {"steps": steps(10, 50, 100, hold="2s")}
    shadow = {"shadow": way.shadow} if way.shadow else {}
    return model(ref, "1", traffic=way.traffic, ramp=ramp, guardrails=[{**ERRORS, **way.asked}], **shadow)


async def _until_served(sidecar: Sidecar, way: Way) -> None:
    """Wait until the sidecar knows the first version: only then there are clients."""
    async with aiohttp.ClientSession(headers={"Host": way.host}) as session, asyncio.timeout(30):
        while True:
            with suppress(aiohttp.ClientError):
                async with session.post(sidecar.http) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)


async def _count(prometheus: PrometheusServer, sidecar: Sidecar, ref: Ref, versions: Mapping[str, Version]) -> None:
    """Expose what proxies and model servers count, under the names that Istio and our runtime give it.

    Of the source: the sidecar's log. Of the destination, where copies arrive too: the servers' own counts.
    """
    while True:
        prometheus.exporter.expose(dict(_series(sidecar, ref, versions)))
        await asyncio.sleep(COUNT_EVERY)


def _series(sidecar: Sidecar, ref: Ref, versions: Mapping[str, Version]) -> Iterator[tuple[str, float]]:
    for (host, code), count in sidecar.count().items():
        name, _, rest = host.partition(".")
        if rest.startswith(f"{ref.namespace}."):
            at = f'destination_service_name="{name}",destination_service_namespace="{ref.namespace}"'
            yield f'istio_requests_total{{reporter="source",{at},response_code="{code}"}}', count
    for version in versions.values():
        workload = service(ref.name, version.number)
        at = f'destination_workload="{workload}",destination_workload_namespace="{ref.namespace}"'
        ours = f'namespace="{ref.namespace}",model="{MODEL}.{ref.namespace}",version="{version.number}"'
        for code, count in version.answers.items():
            yield f'istio_requests_total{{reporter="destination",{at},response_code="{code}"}}', count
            yield f'modelramp_requests_total{{{ours},code="{code}"}}', count


def _weights(kind: Kind, obj: Any) -> dict[str, int]:
    return {host.rpartition("-v")[2]: percent for host, percent in weights_of(kind, obj).items() if percent}


def _is_mirrored(kind: Kind, obj: Any) -> bool:
    _, rule = rule_of(kind, obj)
    filters = rule.get("filters") or ()
    return bool(rule.get("mirror")) or any(each.get("type") == "RequestMirror" for each in filters)
