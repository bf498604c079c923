"""One operator process: it stands by, leads, and ends so that the next one can lead at once."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from modelramp import handlers
from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kinds import LEASE, MODEL_DEPLOYMENT, OPTIONAL_KINDS
from modelramp.adapters.kubernetes import Cluster, OnCall
from modelramp.adapters.leases import LeaseObject
from modelramp.adapters.store import Store
from modelramp.leader import Election, lineage, unique_identity
from modelramp.outage import Outage
from modelramp.ports import Ref
from modelramp.probes import Probes
from modelramp.queue import Pace, Queue
from modelramp.reconcile import Reconciler, TurnFailedError
from modelramp.reflector import Reflector
from modelramp.relist import Relist
from modelramp.rollout.observation import Failed
from modelramp.sampling import BackgroundSampler
from modelramp.settings import Settings
from modelramp.telemetry import Backlog, Postings, Rollouts, Standing, Telemetry
from modelramp.territory import Territory
from modelramp.wiring import World, wire

log = logging.getLogger(__name__)

STUCK = 300.0  # seconds for the oldest waiting or running turn
SILENT = 30.0  # seconds without an answer of the API server
FINISH_TURNS, FINISH_WATCHES, CLOSE = timedelta(seconds=4), 1.0, 1.0
"""All of an end together stays below ten seconds, the release of the Lease included."""


@dataclass(slots=True)
class Leadership:
    """What exists only in the leader."""

    store: Store
    queue: Queue[Ref]
    territory: Territory
    relist: Relist
    watches: handlers.Watches
    outage: Outage
    reflectors: Sequence[Reflector]
    post_events: Callable[[], Coroutine[Any, Any, None]]
    follow_floors: Callable[[], Coroutine[Any, Any, None]]
    synced: bool = False

    def serve(self, namespaces: Sequence[str]) -> None:
        """Read and watch these namespaces, empty for all."""
        self.relist = replace(self.relist, namespaces=namespaces)
        self.watches = replace(self.watches, namespaces=namespaces)
        self.reflectors = [replace(each, namespaces=namespaces) for each in self.reflectors]

    def wake_all(self) -> None:
        """Give every object a turn."""
        for ref in self.store.refs():
            self.queue.wake(ref)


class Process:
    """The operator from its start to its end."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is connected before `run`."""
        self._settings, self._clock, self.telemetry = settings, SystemClock(), Telemetry()
        self._stop, self._stop_watches = asyncio.Event(), asyncio.Event()
        self._led: Leadership | None = None
        self.probes = Probes(self, self.telemetry.text, settings.probe_port)

    async def run(self) -> int:
        """Stand by, lead, end; return the exit code: 0 when told to stop, 1 when it has to be started again."""
        self._take_signals()
        async with AsyncExitStack() as closing:
            self._lease_cluster = await self._connect(3.0, closing)
            self.election = self._election()
            self.telemetry.show(Standing(self.election))
            await self.probes.start()
            log.info("standing by", extra={"identity": self.election.identity, "port": self.probes.port})
            closing.push_async_callback(self.probes.stop)
            ended = await ends(stop=self._stop.wait(), acquired=self.election.acquire())
            if ended == "acquired":
                ended = await self._lead(closing)
            log.info("ending: %s", ended)
            opened = closing.pop_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE):
                await opened.aclose()
        return 0 if ended == "stop" else 1

    def stop(self) -> None:
        """Ask the process to end; it takes some seconds."""
        self._stop.set()

    # ------------------------------------------------------------------ what the probes ask
    def ailment(self) -> str:
        """Say why this process should be restarted."""
        led = self._led
        if led is None or not led.synced:
            return ""
        oldest = max(led.queue.waited(), led.queue.longest_turn())
        return f"a turn is {oldest:.0f} s old" if oldest > STUCK else ""

    def unready(self) -> str:
        """Say why this process does not do its part yet."""
        if self._stop.is_set():
            return "stopping"
        silence = self.election.answered_ago()
        if silence > SILENT:
            return f"the API server has not answered for {silence:.0f} s"
        if self._led and not self._led.synced:
            return "the first full read is under way"
        return "not every watch runs yet" if self._led and not self._led.watches.complete() else ""

    # ------------------------------------------------------------------ leading
    async def _lead(self, closing: AsyncExitStack) -> str:
        """Lead until told to stop, until another leads, or until a watch ends; say which."""
        keeping = asyncio.create_task(self._keep(), name="keep the Lease")
        led = await self._assemble(closing)
        stopped, working = asyncio.create_task(self._stop.wait()), asyncio.create_task(self._work(led))
        ended = await first_to_end(stop=stopped, lease=keeping, work=working)
        if ended != "lease":  # else nothing may be written any more, and nothing is waited for
            await led.queue.stop(FINISH_TURNS)
            keeping.cancel()
            await self.election.release()
        led.outage.stop()
        self._stop_watches.set()
        await asyncio.wait({working}, timeout=FINISH_WATCHES)
        working.cancel()
        return ended

    async def _keep(self) -> None:
        other = await self.election.keep(lambda: self._led.wake_all() if self._led else None)
        log.critical("the Lease is lost to %s", other)

    async def _assemble(self, closing: AsyncExitStack) -> Leadership:
        store, settings = Store(), self._settings
        outage = Outage(self._api_answers, self._retry)
        cluster = await self._connect(5.0, closing, outage.noted)
        world = World(settings, cluster, store, self.election, self._clock, self.telemetry)
        wired = await wire(world, self._woken, lambda ref: self._wake(ref, urgent=False), closing)
        queue = self._queue(
            store, Reconciler(wired.ports, BackgroundSampler(wired.ports.metrics, self._clock, self._wake))
        )
        relist = Relist(cluster, store, handlers.WATCHED, handlers.selector)
        watches = handlers.Watches(store, self._wake, self._clock, settings.kubeconfig)
        reflectors = [
            Reflector(cluster, store, kind, self._wake, every=settings.relist_seconds) for kind in OPTIONAL_KINDS
        ]
        territory, jobs = Territory(cluster, settings.namespaces), (wired.events.run, wired.floors.run)
        self._led = Leadership(store, queue, territory, relist, watches, outage, reflectors, *jobs)
        self.telemetry.show(Backlog(queue))
        self.telemetry.show(Rollouts(store))
        self.telemetry.show(Postings(wired.events))
        return self._led

    def _queue(self, store: Store, reconciler: Reconciler) -> Queue[Ref]:
        return Queue(
            reconciler.turn,
            Pace(self._settings.workers, timedelta(seconds=self._settings.turn_seconds)),
            gone=lambda ref: store.get(MODEL_DEPLOYMENT, ref.namespace, ref.name) is None,
            expected=(TurnFailedError,),
            turned=self.telemetry.turned,
        )

    def _wake(self, ref: Ref, urgent: bool = True) -> None:
        if self._led:
            self._led.queue.wake(ref, urgent=urgent)

    def _retry(self) -> None:
        if self._led:
            self._led.queue.retry_failing()

    def _woken(self, ref: Ref) -> timedelta | None:
        return self._led.queue.woken(ref) if self._led else None

    async def _work(self, led: Leadership) -> None:
        """Read everything before the first turn: what is not seen yet must not look as if it did not exist."""
        namespaces = await led.territory.until_open()
        led.serve(namespaces)
        await led.relist.until_complete()
        led.synced = True
        log.info("read everything", extra={"objects": len(led.store.refs())})
        led.wake_all()
        led.queue.start()
        every = timedelta(seconds=self._settings.relist_seconds)
        await ends(
            watches=led.watches.run(self._stop_watches, self._take_signals),
            relist=led.relist.forever(every, led.queue.wake, self.telemetry.repaired),
            namespaces=led.territory.until_changed(namespaces, every),
            events=led.post_events(),
            floors=led.follow_floors(),
            **{reflector.kind.plural: reflector.run() for reflector in led.reflectors},
        )

    # ------------------------------------------------------------------ inside
    async def _api_answers(self) -> bool:
        found = await self._lease_cluster.get(LEASE, self._settings.lease_namespace, self._settings.lease_name)
        return not isinstance(found, Failed) or found.reason in ("Forbidden", "Unauthorized")

    def _election(self) -> Election:
        settings = self._settings
        ref = Ref(settings.lease_namespace, settings.lease_name)
        leases = LeaseObject(self._lease_cluster, ref, self._clock)
        place = f"{settings.pod_name}.{settings.pod_uid}" if settings.pod_uid else settings.pod_name
        heir_of = lineage(place) if settings.pod_uid else ""
        return Election(leases, unique_identity(place), self._clock, heir_of=heir_of)

    async def _connect(self, deadline: float, closing: AsyncExitStack, noted: OnCall | None = None) -> Cluster:
        def on_call(verb: str, resource: str, code: int, seconds: float) -> None:
            self.telemetry.requested(verb, resource, code, seconds)
            if noted:
                noted(verb, resource, code, seconds)

        cluster = await Cluster.connect(self._settings.kubeconfig, deadline=deadline, on_call=on_call)
        closing.push_async_callback(cluster.close)
        return cluster

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)


async def first_to_end(**tasks: asyncio.Task[Any]) -> str:
    """Wait for the first task to end and return its name; what it raised is logged."""
    done, _ = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
    name, task = next((name, task) for name, task in tasks.items() if task in done)
    if not task.cancelled() and (fault := task.exception()):
        log.error("%s failed: %s", name, fault, exc_info=fault)
    return name


async def ends(**ways: Coroutine[Any, Any, Any]) -> str:
    """Run several things until the first of them ends, end the others, and return its name."""
    tasks = {name: asyncio.create_task(way, name=name) for name, way in ways.items()}
    try:
        return await first_to_end(**tasks)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
