"""The operator's metrics for Prometheus. What the store knows is read when scraped: nothing is kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelramp import __version__
from modelramp.adapters.kinds import MODEL_DEPLOYMENT, Object
from modelramp.adapters.store import Store
from modelramp.lease import Lease
from modelramp.ports import Done, Events, Ref, Rollout, Traffic, Written
from modelramp.queue import Outcome, Queue
from modelramp.rollout.actions import Event, SetTraffic
from modelramp.rollout.observation import Effect, Reading, Route

ROLLBACKS = frozenset({"RolledBack", "ManualRollback", "Aborted", "Restored", "Returned"})
"""The events that take traffic from a version: by a guardrail, by hand at the route, by `spec.abort`, by the pin while
it was a candidate, by the pin after it was promoted."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Telemetry:
    """Every metric of one process."""

    def __init__(self) -> None:
        """Start all counters at nothing."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._turns = Histogram(
            "modelramp_turn_seconds",
            "Turns of the loop by outcome.",
            ["outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._requests = Counter(
            "modelramp_api_requests",
            "Requests to the Kubernetes API by verb, resource and status code; 0 where no answer came.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._events = Counter(
            "modelramp_events", "What happened to rollouts, by the Event's reason.", ["reason"], registry=self.registry
        )
        self._rollbacks = Counter(
            "modelramp_rollbacks", "Traffic taken from a version, by why.", ["reason"], registry=self.registry
        )
        self._retreats = Histogram(
            "modelramp_retreat_seconds",
            "From what woke the loop, such as a guardrail's answer, until the retreat was stored.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._repairs = Counter(
            "modelramp_repaired_objects",
            "Objects that a full read found changed or gone unnoticed.",
            registry=self.registry,
        )
        for outcome in Outcome:
            self._turns.labels(outcome.value)
        for reason in sorted(ROLLBACKS):
            self._rollbacks.labels(reason)

    def turned(self, seconds: float, outcome: Outcome) -> None:
        """Count a turn."""
        self._turns.labels(outcome.value).observe(seconds)

    def requested(self, verb: str, resource: str, code: int, _seconds: float) -> None:
        """Count a request to the API server."""
        self._requests.labels(verb, resource, str(code)).inc()

    def happened(self, event: Event) -> None:
        """Count an event."""
        self._events.labels(event.reason).inc()
        if event.reason in ROLLBACKS:
            self._rollbacks.labels(event.reason).inc()

    def retreated(self, seconds: float) -> None:
        """Count a retreat that was stored."""
        self._retreats.observe(seconds)

    def repaired(self, objects: int) -> None:
        """Count what a full read repaired."""
        self._repairs.inc(objects)

    def show(self, collector: Collector) -> None:
        """Ask this collector too from now on, at each scrape."""
        self.registry.register(collector)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class Standing(Collector):
    """Whether this process leads."""

    def __init__(self, lease: Lease) -> None:
        """Take the election."""
        self._lease = lease

    def collect(self) -> Iterable[Metric]:
        """Yield the leader flag and the build."""
        leads = GaugeMetricFamily("modelramp_leader", "1 where this process may write.")
        leads.add_metric([], float(self._lease.held()))
        build = GaugeMetricFamily("modelramp_build_info", "The operator's version.", labels=["version"])
        build.add_metric([__version__], 1)
        return [leads, build]


class Backlog(Collector):
    """The queue, as it is at the scrape."""

    def __init__(self, queue: Queue[Ref]) -> None:
        """Take the queue."""
        self._queue = queue

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges; callable only where the queue's loop runs."""
        queue = self._queue
        for name, text, value in (
            ("modelramp_queue_depth", "Objects that wait for a turn.", queue.depth),
            ("modelramp_queue_oldest_seconds", "How long the oldest of them has waited.", queue.waited()),
            ("modelramp_turns_running", "Turns that run now.", queue.running),
            ("modelramp_turns_failing", "Objects whose last turn failed.", queue.failing),
        ):
            yield GaugeMetricFamily(name, text, value=value)


class Unposted(Protocol):
    """What counts the Events that were not posted."""

    dropped: int
    failed: int


class Postings(Collector):
    """Events that people do not get to see."""

    def __init__(self, unposted: Unposted) -> None:
        """Take what posts them."""
        self._unposted = unposted

    def collect(self) -> Iterable[Metric]:
        """Yield how many were too many, and how many the API server did not take."""
        text = "Events that were not posted: dropped as too many, or refused by the API server."
        unposted = CounterMetricFamily("modelramp_events_unposted", text, labels=["why"])
        unposted.add_metric(["dropped"], self._unposted.dropped)
        unposted.add_metric(["failed"], self._unposted.failed)
        return [unposted]


class Rollouts(Collector):
    """Every ModelDeployment of the store: gone there, gone here."""

    def __init__(self, store: Store) -> None:
        """Take the store."""
        self._store = store

    def collect(self) -> Iterable[Metric]:
        """Yield what `kubectl get mdep` shows, and the guardrails' verdicts."""
        info = GaugeMetricFamily(
            "modelramp_rollout_info",
            "Where each ModelDeployment stands.",
            labels=["namespace", "name", "phase", "reason", "stable", "candidate"],
        )
        weight = GaugeMetricFamily(
            "modelramp_rollout_weight",
            "Percent of live traffic that a version is to have.",
            labels=["namespace", "name", "version"],
        )
        verdict = GaugeMetricFamily(
            "modelramp_guardrail_verdict",
            "1 for the guardrail's last verdict.",
            labels=["namespace", "name", "guardrail", "verdict"],
        )
        for ref in self._store.refs():
            body = self._store.get(MODEL_DEPLOYMENT, ref.namespace, ref.name)
            if body is not None:
                _describe(ref, body.get("status") or {}, info, weight, verdict)
        return [info, weight, verdict]


def _describe(
    ref: Ref, status: Object, info: GaugeMetricFamily, weight: GaugeMetricFamily, verdict: GaugeMetricFamily
) -> None:
    where = [ref.namespace, ref.name]
    stable, candidate = _version(status.get("stable")), _version(status.get("candidate"))
    info.add_metric([*where, status.get("phase") or "Pending", status.get("reason") or "New", stable, candidate], 1)
    share = int(status.get("weight") or 0) if candidate else 0
    for version, percent in ((candidate, share), (stable, 100 - share)):
        if version:
            weight.add_metric([*where, version], percent)
    for guardrail in status.get("guardrails") or ():
        verdict.add_metric([*where, guardrail.get("name", ""), guardrail.get("verdict", "")], 1)


def _version(pin: Mapping[str, Any] | None) -> str:
    return str((pin or {}).get("version") or "")


class CountedEvents:
    """`Events` that are counted."""

    def __init__(self, events: Events, happened: Callable[[Event], None]) -> None:
        """Wrap another `Events`."""
        self._events, self._happened = events, happened

    async def emit(self, rollout: Rollout, events: Sequence[Event]) -> None:
        """Count, then post."""
        for event in events:
            self._happened(event)
        await self._events.emit(rollout, events)


class TimedTraffic:
    """A `Traffic` whose retreats are timed from what woke the loop."""

    def __init__(
        self, traffic: Traffic, woken: Callable[[Ref], timedelta | None], retreated: Callable[[float], None]
    ) -> None:
        """Wrap another `Traffic`; `woken` tells how long ago the object's present turn was asked for."""
        self._traffic, self._woken, self._retreated = traffic, woken, retreated

    async def read(self, rollout: Rollout) -> Reading[Route]:
        """Read the stored split."""
        return await self._traffic.read(rollout)

    async def measure(self, rollout: Rollout) -> Reading[Effect]:
        """Ask the proxies what they do."""
        return await self._traffic.measure(rollout)

    async def write(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        """Store the split, and time it where it is a retreat."""
        began, waited = asyncio.get_running_loop().time(), self._woken(rollout.ref)
        written = await self._traffic.write(rollout, wanted)
        if wanted.retreat and waited is not None and isinstance(written, Done):
            self._retreated(waited.total_seconds() + asyncio.get_running_loop().time() - began)
        return written
