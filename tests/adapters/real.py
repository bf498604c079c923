"""Operator processes on a real API server: each with its own store, lease and adapters."""

from __future__ import annotations

import asyncio
import secrets
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from modelramp.adapters.configmap import ConfigMapRoutes, TrafficSettings
from modelramp.adapters.kinds import CONFIG_MAP, Kind
from modelramp.adapters.kubernetes import Cluster, Listing
from modelramp.adapters.objects import ClusterObjects
from modelramp.adapters.podspec import PodSettings
from modelramp.adapters.proxies import Pace, Proxies
from modelramp.adapters.rehearsals import ClusterRehearsals
from modelramp.adapters.routers import Routers
from modelramp.adapters.routes import RoutesByBackend
from modelramp.adapters.store import Store
from modelramp.adapters.workloads import ClusterWorkloads
from modelramp.adapters.writer import Writer
from modelramp.ports import Metrics, Ref, Rollout, Traffic
from modelramp.rollout.observation import NoData, Reading, Value
from modelramp.rollout.status import Pin
from modelramp.router.podspec import RouterSettings
from modelramp.wiring import gateway_routes, istio_routes
from tests.controlplane import ApiServer

CRDS = Path(__file__).parents[2] / "crds"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POD_SETTINGS = PodSettings("modelramp/runtime:test", "http://mlflow.mlflow.svc:5000")
ROUTER_SETTINGS = RouterSettings(operator_image="modelramp/operator:test")


@dataclass
class Term:
    """A leadership that a test can end."""

    epoch: int = 1
    leading: bool = True

    def held(self) -> bool:
        return self.leading


class Silence:
    """A Prometheus that has heard of nothing."""

    async def query(self, promql: str) -> Reading[float]:
        return NoData("EmptyResult", promql)


@dataclass
class Process:
    """One operator process."""

    cluster: Cluster
    session: aiohttp.ClientSession
    lease: Term = field(default_factory=Term)
    traffic_settings: TrafficSettings = field(default_factory=TrafficSettings)
    pace: Pace = field(default_factory=lambda: Pace(unsettled=0.0, settled=0.0))
    metrics: Metrics = field(default_factory=Silence)

    def __post_init__(self) -> None:
        self.store = Store()
        self.writer = Writer(self.cluster, self.store, self.lease)
        self.objects = ClusterObjects(self.store, self.writer)
        self.workloads = ClusterWorkloads(self.cluster, self.store, self.writer, POD_SETTINGS)
        self.rehearsals = ClusterRehearsals(self.cluster, self.store, self.writer, POD_SETTINGS)
        self.routers = Routers(self.store, self.writer, ROUTER_SETTINGS)
        self.proxies = Proxies(self.store, self.session, self.pace)
        self.traffic: Traffic = RoutesByBackend(
            ConfigMapRoutes(self.store, self.writer, self.routers, self.proxies, self.traffic_settings),
            istio_routes(self.store, self.writer, self.metrics),
            gateway_routes(self.store, self.writer, self.metrics, self.cluster),
        )

    async def list_all(self, namespace: str, *kinds: Kind) -> None:
        """Take in what a LIST brings, as the process does at its start."""
        for kind in kinds:
            listing = await self.cluster.list(kind, namespace)
            assert isinstance(listing, Listing)
            self.store.replace_all(kind, listing.items, listing.resource_version)


@dataclass
class RealCluster:
    """A namespace of its own on the API server, and what tests do there by hand."""

    server: ApiServer
    namespace: str
    cluster: Cluster
    session: aiohttp.ClientSession
    calls: list[str] = field(default_factory=list)
    """The methods of all calls that processes have made."""

    def process(self, epoch: int = 1, **settings: Any) -> Process:
        """Start an operator process that leads as `epoch`."""
        return Process(self.cluster, self.session, Term(epoch), **settings)

    async def request(
        self, method: str, path: str, body: Any = None, *, kind: str = "", manager: str = "kubectl"
    ) -> Any:
        """Send a request as an administrator would."""
        separator = "&" if "?" in path else "?"
        manner = "" if method == "GET" else f"{separator}fieldManager={manager}"
        return await asyncio.to_thread(self.server.request, method, f"{path}{manner}", body, kind=kind)

    async def get(self, kind: Kind, name: str) -> Any:
        """Read an object; None when there is none."""
        try:
            return await self.request("GET", kind.path(self.namespace, name))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    async def merge(self, kind: Kind, name: str, patch: Mapping[str, Any], *, manager: str = "kubectl-patch") -> Any:
        """Patch an object as `kubectl patch --type merge` does."""
        path = kind.path(self.namespace, name)
        return await self.request("PATCH", path, patch, kind="application/merge-patch+json", manager=manager)

    async def edit_numbers(self, name: str, numbers: Mapping[str, str | None]) -> None:
        """Change the scalar keys by hand."""
        await self.merge(CONFIG_MAP, f"{name}-traffic", {"data": dict(numbers)})

    async def create_model(self, name: str, **spec: Any) -> Ref:
        """Create a ModelDeployment."""
        body = {
            "apiVersion": "modelramp.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"model": {"name": "fraud_detector", "version": "8"}, "traffic": {"configMap": {}}} | spec,
        }
        await self.request("POST", f"/apis/modelramp.dev/v1alpha1/namespaces/{self.namespace}/modeldeployments", body)
        return Ref(self.namespace, name)


def pin(version: str) -> Pin:
    return Pin(version, f"run-{version}", f"models:/m-{version}", f"sha256:{version * 64}"[:71], "1700000000000")


async def read(process: Process, ref: Ref) -> Rollout:
    """Read an object that is there."""
    found = await process.objects.read(ref)
    assert isinstance(found, Value)
    return found.value


def new_namespace(server: ApiServer) -> str:
    """Create a namespace that the `restricted` pod security standard is enforced in."""
    name = f"models-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    return name


def install_definition(server: ApiServer) -> None:
    """Install the kinds and wait until they are served."""
    for file in sorted(CRDS.glob("*.yaml")):
        _install(server, yaml.safe_load(file.read_text()))


def _install(server: ApiServer, definition: Mapping[str, Any]) -> None:
    name = definition["metadata"]["name"]
    path = f"{DEFINITIONS}/{name}?fieldManager=test&force=true"
    server.request("PATCH", path, definition, kind="application/apply-patch+yaml")
    watch = f"{DEFINITIONS}?watch=true&timeoutSeconds=20&fieldSelector=metadata.name={name}"
    for event in server.watch(watch):
        conditions = (event["object"].get("status") or {}).get("conditions") or []
        if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
            return
    raise AssertionError("the definition was not established within 20 s")
