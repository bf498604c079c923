"""Put the operator together: every port on its adapter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from aiohttp import ClientSession

from modelramp.adapters.configmap import ConfigMapRoutes, TrafficSettings
from modelramp.adapters.counters import Counters
from modelramp.adapters.events import ClusterEvents
from modelramp.adapters.floors import ClusterFloors, NoFloors
from modelramp.adapters.gateway import GatewayEffect, GatewayFeatures, GatewayRoutes
from modelramp.adapters.istio import DIALECT, IstioEffect, OwnVirtualService
from modelramp.adapters.journal import Aliases, MlflowJournal, NoJournal
from modelramp.adapters.kinds import KINDS, MODEL_DEPLOYMENT
from modelramp.adapters.kubernetes import Cluster
from modelramp.adapters.mlflow import MlflowRegistry
from modelramp.adapters.mlflow_process import Worker
from modelramp.adapters.objects import ClusterObjects
from modelramp.adapters.pins import PinWatch
from modelramp.adapters.podspec import PodSettings
from modelramp.adapters.policies import ClusterPolicies
from modelramp.adapters.prometheus import PrometheusMetrics
from modelramp.adapters.proxies import Proxies
from modelramp.adapters.rehearsals import ClusterRehearsals
from modelramp.adapters.routers import Routers
from modelramp.adapters.routes import RoutesByBackend
from modelramp.adapters.steered import Steerage, SteeredRoutes
from modelramp.adapters.store import Store
from modelramp.adapters.workloads import ClusterWorkloads
from modelramp.adapters.writer import Writer
from modelramp.api.problem import Problem
from modelramp.api.run import Runtimes
from modelramp.lease import Lease
from modelramp.ports import Clock, Metrics, Ports, Ref, Traffic
from modelramp.rollout.spec import GatewayKind, Holding
from modelramp.router.podspec import Resources, RouterSettings
from modelramp.runtimes import read_runtimes
from modelramp.settings import Settings
from modelramp.telemetry import CountedEvents, Telemetry, TimedTraffic

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class World:
    """What every adapter is made of."""

    settings: Settings
    cluster: Cluster
    store: Store
    lease: Lease
    clock: Clock
    telemetry: Telemetry

    def exists(self, ref: Ref) -> bool:
        """Tell whether a ModelDeployment is known."""
        return self.store.get(MODEL_DEPLOYMENT, ref.namespace, ref.name) is not None


@dataclass(frozen=True, slots=True)
class Wired:
    """The ports, and what somebody has to run: the posting of Events, the watch over PromotionPolicies."""

    ports: Ports
    events: ClusterEvents
    floors: ClusterFloors | NoFloors


async def wire(
    world: World,
    woken: Callable[[Ref], timedelta | None],
    wake: Callable[[Ref], None],
    closing: AsyncExitStack,
) -> Wired:
    """Return the ports on their adapters; `closing` ends what they keep open."""
    settings, telemetry = world.settings, world.telemetry
    session = await closing.enter_async_context(ClientSession())
    writer = Writer(world.cluster, world.store, world.lease)
    events = ClusterEvents(world.cluster, world.lease, world.clock, instance=settings.pod_name)
    registry = MlflowRegistry(settings.mlflow_tracking_uri)
    closing.push_async_callback(registry.close)
    journal = _journal(world, registry.worker, wake)
    closing.push_async_callback(journal.close)
    pins = PinWatch(registry.worker, world.lease, wake, world.exists, settings.pin_seconds)
    closing.push_async_callback(pins.close)
    floors = ClusterFloors(world.cluster, asked=settings.admission) if settings.promotion_policies else NoFloors()
    metrics = _metrics(settings, world.clock)
    closing.push_async_callback(metrics.close)
    ports = Ports(
        objects=ClusterObjects(world.store, writer, _runtimes(settings)),
        workloads=ClusterWorkloads(world.cluster, world.store, writer, _pods(settings)),
        rehearsals=ClusterRehearsals(world.cluster, world.store, writer, _pods(settings)),
        policies=ClusterPolicies(world.store, writer, session),
        traffic=TimedTraffic(_routes(world, writer, session, metrics), woken, telemetry.retreated),
        registry=registry,
        pins=pins,
        journal=journal,
        floors=floors,
        metrics=metrics,
        events=CountedEvents(events, telemetry.happened),
        clock=world.clock,
    )
    return Wired(ports, events, floors)


def _routes(world: World, writer: Writer, session: ClientSession, metrics: PrometheusMetrics) -> RoutesByBackend:
    routers = Routers(world.store, writer, _routers(world.settings))
    return RoutesByBackend(
        ConfigMapRoutes(world.store, writer, routers, Proxies(world.store, session), TrafficSettings()),
        istio_routes(world.store, writer, metrics),
        gateway_routes(world.store, writer, metrics, world.cluster),
    )


def istio_routes(store: Store, writer: Writer, metrics: Metrics) -> Mapping[Holding, Traffic]:
    """Return the three ways to hold a VirtualService."""
    effect = IstioEffect(Counters(metrics))
    ours = SteeredRoutes(store, writer, Steerage(DIALECT, effect.measure, OwnVirtualService()))
    theirs = SteeredRoutes(store, writer, Steerage(DIALECT, effect.measure))
    return {Holding.CREATE: ours, Holding.DELEGATE: ours, Holding.PATCH: theirs}


def gateway_routes(store: Store, writer: Writer, metrics: Metrics, cluster: Cluster) -> Mapping[GatewayKind, Traffic]:
    """Return the routes of the Gateway API."""
    measure, refuse = GatewayEffect(Counters(metrics)).measure, GatewayFeatures(cluster).refuse
    dialects = {kind: GatewayRoutes(KINDS[kind.value]) for kind in GatewayKind}
    return {
        kind: SteeredRoutes(store, writer, Steerage(dialect, measure, refuse=refuse))
        for kind, dialect in dialects.items()
    }


def _journal(world: World, worker: Worker, wake: Callable[[Ref], None]) -> MlflowJournal | NoJournal:
    settings = world.settings
    stable, candidate = ("" if name == "none" else name for name in (settings.alias_stable, settings.alias_candidate))
    if not settings.journal:
        return NoJournal()
    return MlflowJournal(worker, world.lease, wake, Aliases(stable, candidate))


def _metrics(settings: Settings, clock: Clock) -> PrometheusMetrics:
    return PrometheusMetrics(
        settings.prometheus_url,
        clock,
        token_file=settings.prometheus_token_file,
        ca_file=settings.prometheus_ca_file,
    )


def _runtimes(settings: Settings) -> Runtimes:
    found = read_runtimes(settings.runtimes)
    for name, described in found.items():
        if isinstance(described, Problem):
            log.error("runtime %s cannot be used: %s", name, described)
    return found


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
