"""Put the operator together: every port on its adapter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from aiohttp import ClientSession

from modelramp.adapters.configmap import ConfigMapRoutes, TrafficSettings
from modelramp.adapters.events import ClusterEvents
from modelramp.adapters.kubernetes import Cluster
from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.adapters.objects import ClusterObjects
from modelramp.adapters.podspec import PodSettings
from modelramp.adapters.prometheus import PrometheusMetrics
from modelramp.adapters.proxies import Proxies
from modelramp.adapters.routers import Routers
from modelramp.adapters.store import Store
from modelramp.adapters.workloads import ClusterWorkloads
from modelramp.adapters.writer import Writer
from modelramp.lease import Lease
from modelramp.ports import Clock, Ports, Ref
from modelramp.router.podspec import Resources, RouterSettings
from modelramp.settings import Settings
from modelramp.telemetry import CountedEvents, Telemetry, TimedTraffic


@dataclass(frozen=True, slots=True)
class World:
    """What every adapter is made of."""

    settings: Settings
    cluster: Cluster
    store: Store
    lease: Lease
    clock: Clock
    telemetry: Telemetry


@dataclass(frozen=True, slots=True)
class Wired:
    """The ports, and the Events whose posting somebody has to run."""

    ports: Ports
    events: ClusterEvents


async def wire(world: World, woken: Callable[[Ref], timedelta | None], closing: AsyncExitStack) -> Wired:
    """Return the ports on their adapters; `closing` ends what they keep open."""
    settings, telemetry = world.settings, world.telemetry
    session = await closing.enter_async_context(ClientSession())
    writer = Writer(world.cluster, world.store, world.lease)
    events = ClusterEvents(world.cluster, world.lease, world.clock, instance=settings.pod_name)
    registry = MlflowRegistry(settings.mlflow_tracking_uri)
    closing.push_async_callback(registry.close)
    metrics = _metrics(settings, world.clock)
    closing.push_async_callback(metrics.close)
    ports = Ports(
        objects=ClusterObjects(world.store, writer),
        workloads=ClusterWorkloads(world.cluster, world.store, writer, _pods(settings)),
        traffic=TimedTraffic(_routes(world, writer, session), woken, telemetry.retreated),
        registry=registry,
        metrics=metrics,
        events=CountedEvents(events, telemetry.happened),
        clock=world.clock,
    )
    return Wired(ports, events)


def _routes(world: World, writer: Writer, session: ClientSession) -> ConfigMapRoutes:
    routers = Routers(world.store, writer, _routers(world.settings))
    return ConfigMapRoutes(world.store, writer, routers, Proxies(world.store, session), TrafficSettings())


def _metrics(settings: Settings, clock: Clock) -> PrometheusMetrics:
    return PrometheusMetrics(
        settings.prometheus_url,
        clock,
        token_file=settings.prometheus_token_file,
        ca_file=settings.prometheus_ca_file,
    )


def _pods(settings: Settings) -> PodSettings:
    return PodSettings(
        runtime_image=settings.runtime_image,
        tracking_uri=settings.mlflow_tracking_uri,
        pull_policy=settings.image_pull_policy,
    )


def _routers(settings: Settings) -> RouterSettings:
    return RouterSettings(
        operator_image=settings.operator_image,
        envoy_image=settings.router_image,
        image_pull_policy=settings.image_pull_policy,
        envoy_heap=settings.router_heap,
        envoy_resources=Resources(settings.router_cpu, settings.router_memory, settings.router_memory_limit),
    )
