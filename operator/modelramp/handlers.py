"""The only module that knows kopf: it lists, watches, logs in, and hands every event to the store and the queue.

Nothing of kopf that keeps state on objects is used: no create, update or delete handlers, timers, daemons,
indexes, patches. So kopf writes nothing at all.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration

from modelramp.adapters.kinds import (
    AUTOSCALER,
    COMPONENT,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    FIELD_MANAGER,
    JOB,
    MANAGED_BY,
    MODEL_DEPLOYMENT,
    POD,
    POLICY,
    ROUTER,
    SERVICE,
    Kind,
)
from modelramp.adapters.kubernetes import PAGE
from modelramp.adapters.store import Store
from modelramp.ports import Clock, Ref

log = logging.getLogger(__name__)

WATCHED = (MODEL_DEPLOYMENT, DEPLOYMENT, CONFIG_MAP, JOB, POD, SERVICE, DISRUPTION_BUDGET, AUTOSCALER)
OURS = f"{MANAGED_BY}={FIELD_MANAGER}"
RULES_OR_ROUTES = f"{COMPONENT} in ({POLICY}, {ROUTER})"
"""A policy's ConfigMap is somebody else's, and managed by whatever they manage it with."""
URGENT = (MODEL_DEPLOYMENT, CONFIG_MAP)
"""What people edit; a retreat by hand goes ahead of pods that come and go."""

LOGIN_LASTS = timedelta(minutes=10)
WATCHES_BEGIN_WITHIN, LOOK_EVERY = 10.0, 0.1  # seconds
Wake = Callable[[Ref, bool], None]
"""Called with the object, and whether it is urgent."""


def selector(kind: Kind) -> str:
    """Return the label selector of what we watch of a kind."""
    if kind is CONFIG_MAP:
        return RULES_OR_ROUTES
    return "" if kind is MODEL_DEPLOYMENT else OURS


class Backoffs:
    """Pauses between tries, for ever: half a second, doubling to five, each with jitter."""

    def __iter__(self) -> Iterator[float]:
        """Begin again at half a second."""
        pause = 0.5
        while True:
            yield pause * random.uniform(0.8, 1.2)  # noqa: S311
            pause = min(pause * 2, 5.0)


@dataclass(frozen=True, slots=True)
class Watches:
    """The watches of one leadership."""

    store: Store
    wake: Wake
    clock: Clock
    kubeconfig: Path | None = None
    namespaces: Sequence[str] = ()

    async def run(self, stop: asyncio.Event, spawned: Callable[[], None]) -> None:
        """Watch until `stop`. Raises what ended a watch for good, RuntimeError when one never began.

        `spawned` is called once kopf has set its own signal handlers, to set the process's own again.
        """
        tasks = await kopf.spawn_tasks(
            registry=self.registry(),
            settings=watch_settings(),
            # Else kopf asks for the user's name, which the user of a pod need not have.
            identity=FIELD_MANAGER,  # type: ignore[arg-type]
            standalone=True,
            clusterwide=not self.namespaces,
            namespaces=list(self.namespaces),
            stop_flag=stop,
        )
        spawned()
        running = asyncio.ensure_future(kopf.run_tasks(tasks, ignored=_Everything()))  # type: ignore[arg-type]
        begun = asyncio.create_task(self._begun())
        try:
            await asyncio.wait({running, begun}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                begun.result()
            await running
        finally:
            begun.cancel()
            running.cancel()

    async def _begun(self) -> None:
        """Return once every watch runs: of a kind that it did not find, kopf itself only warns.

        While none runs kopf has not found the API server yet, and goes on trying.
        """
        left = WATCHES_BEGIN_WITHIN
        while not self.complete():
            await asyncio.sleep(LOOK_EVERY)
            left -= LOOK_EVERY if self._running() else 0.0
            if left <= 0:
                raise RuntimeError(f"the API server does not offer all of {', '.join(kind.plural for kind in WATCHED)}")

    def complete(self) -> bool:
        """Tell whether every watch runs now: each kind has one in each namespace."""
        return self._running() >= len(WATCHED) * max(1, len(self.namespaces))

    def _running(self) -> int:
        return sum(task.get_name().startswith("watcher for ") for task in asyncio.all_tasks())

    def registry(self) -> kopf.OperatorRegistry:
        """Return the handlers: one login, one event handler a kind."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, retries=5, backoff=1)(Login(self.kubeconfig, self.clock).connect)
        for kind in WATCHED:
            group, _, version = kind.api_version.rpartition("/")
            kopf.on.event(group, version, kind.plural, registry=registry, id=kind.plural)(self.handler(kind))
        return registry

    def handler(self, kind: Kind) -> Any:
        """Return the coroutine that takes in a kind's events; it never raises and never waits."""

        async def handle(event: Any, **_: Any) -> None:
            try:
                self.take(kind, event["type"], event["object"])
            except Exception:
                log.exception("an event of %s could not be taken in", kind.plural)

        return handle

    def take(self, kind: Kind, change: str | None, obj: Any) -> None:
        """Take in one event and wake whom it concerns."""
        for ref in self.store.drop(kind, obj) if change == "DELETED" else self.store.put(kind, obj):
            if kind is MODEL_DEPLOYMENT or self._exists(ref):
                self.wake(ref, kind in URGENT)

    def _exists(self, ref: Ref) -> bool:
        return self.store.get(MODEL_DEPLOYMENT, ref.namespace, ref.name) is not None


class _Everything(Container[object]):
    """What kopf must leave alone when it ends: all tasks that are not its own, which it cannot tell."""

    def __contains__(self, _task: object) -> bool:
        return True


class Login:
    """Logs kopf in with what the rest of the process uses, again and again: projected tokens rotate."""

    def __init__(self, kubeconfig: Path | None, clock: Clock) -> None:
        """Take the pod's service account, or a kubeconfig."""
        self._kubeconfig, self._clock = kubeconfig, clock
        self._not_before = 0.0

    async def connect(self, **_kwargs: Any) -> kopf.ConnectionInfo:
        """Return the credentials; asked twice within a second it waits, so that a lasting 401 is no storm."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._not_before - loop.time()))
        self._not_before = loop.time() + 1.0
        expiration = self._clock.now() + LOGIN_LASTS * random.uniform(0.8, 1.0)  # noqa: S311
        found = await read_configuration(self._kubeconfig)
        header = await found.get_api_key_with_prefix("BearerToken", alias="authorization")
        scheme, _, token = (header or "").rpartition(" ")
        return kopf.ConnectionInfo(
            server=found.host,
            ca_path=found.ssl_ca_cert,
            insecure=not found.verify_ssl,
            username=found.username or None,
            password=found.password or None,
            scheme=scheme or None,
            token=token or None,
            certificate_path=found.cert_file,
            private_key_path=found.key_file,
            expiration=expiration,
        )


async def read_configuration(kubeconfig: Path | None) -> Configuration:
    """Read the pod's service account, or the kubeconfig. Raises ConfigException for a bad one."""
    configuration = Configuration()
    if kubeconfig is None:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            str(kubeconfig), client_configuration=configuration
        )
    return configuration


class NoMemory(kopf.DiffBaseStorage):
    """What kopf remembers of an object, to tell what has changed: nothing, since nobody here asks.

    Its own memory copies each object whole with each event, a tenth of all CPU while many objects change.
    """

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:  # noqa: ARG002
        """Return nothing."""
        return {}

    def fetch(self, *, body: Any) -> Any:  # noqa: ARG002
        """Return nothing."""
        return {}

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Do nothing."""


def watch_settings() -> kopf.OperatorSettings:
    """Return kopf's settings: every call bounded, no fault of the API server final, nothing written."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoMemory()
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = Backoffs()
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = 70
    settings.watching.server_timeout = 600
    settings.watching.chunk_size = PAGE
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 0.05  # a worker keeps its last object so long
    settings.queueing.exit_timeout = 1
    settings.process.ultimate_exiting_timeout = None  # the process sees to its own end
    for kind in WATCHED:
        if wanted := selector(kind):
            group, _, version = kind.api_version.rpartition("/")
            settings.watching.label_selectors[group, version, kind.plural] = wanted
    return settings
