"""The pods of each version and what belongs to them, read from the store and applied server-side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelramp.adapters.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    DESTINATION_RULE,
    DISRUPTION_BUDGET,
    POD,
    SERVICE,
    VERSION,
    Kind,
    Object,
    kind_of,
)
from modelramp.adapters.kubernetes import Cluster, Missing
from modelramp.adapters.listing import read_owned
from modelramp.adapters.live import Conformity, is_as_rendered, is_deployed, is_kept
from modelramp.adapters.ownership import is_named_after
from modelramp.adapters.peers import peers_name
from modelramp.adapters.podspec import PodSettings, Served, served, workload_name
from modelramp.adapters.slim import holds_replicas
from modelramp.adapters.store import Store
from modelramp.adapters.trouble import find_trouble
from modelramp.adapters.versions import render_peers, render_version
from modelramp.adapters.writer import Writer, written
from modelramp.ports import Done, Ref, Rollout, Written
from modelramp.rollout.observation import Failed, Reading, Value, Workload
from modelramp.rollout.spec import IstioTraffic
from modelramp.rollout.status import Pin, Status

REPLICAS_MANAGER = "modelramp-replicas"
"""Owns the number of pods from when it is no longer ours until the autoscaler's first write."""
REFUSALS = ("Invalid", "Forbidden", "BadRequest", "Http500", "NameTaken")
"""What the API server says of an object, not of itself: it will say so again. 500 is its word for an unknown field."""


class ClusterWorkloads:
    """Versions as objects that the ModelDeployment owns: Deployment, Service, disruption budget, autoscaler."""

    def __init__(self, cluster: Cluster, store: Store, writer: Writer, settings: PodSettings) -> None:
        self._cluster = cluster
        self._store = store
        self._writer = writer
        self._settings = settings
        self._conformity = Conformity()
        self._refused: dict[tuple[Ref, str], str] = {}

    async def read(self, rollout: Rollout) -> Reading[Mapping[str, Workload]]:
        """Read every version's workload that this object owns; asks the API server only before the first LIST."""
        if failed := await read_owned(self._cluster, self._store, (DEPLOYMENT, POD), rollout.ref):
            return failed
        pods = self._store.members(POD, rollout.ref)
        found = [each for each in self._store.members(DEPLOYMENT, rollout.ref) if _version(each)]
        return Value(self._not_made(rollout) | {_version(each): self._workload(rollout, each, pods) for each in found})

    async def run(self, rollout: Rollout, pin: Pin) -> Written:
        """Apply the version's objects, where they are not already as the spec asks."""
        asked = served(rollout, pin)
        outcome = await self._prune(rollout, asked)
        for obj in render_version(asked, self._settings).values() if isinstance(outcome, Done) else ():
            live = self._find(asked, kind_of(obj))
            if live is None or not self._is_as_asked(live, asked, kind_of(obj)):
                outcome = await self._apply(asked, obj, live)
            if not isinstance(outcome, Done):
                break
        if isinstance(outcome, Done):
            # Last: a version runs, and can be fallen back to, where its answers cannot be compared.
            outcome = await self._settle_peers(asked)
        self._note(asked, outcome)
        return outcome

    async def stop(self, rollout: Rollout, version: str) -> Written:
        """Delete the version's objects; what is already gone is done."""
        self._refused.pop((rollout.ref, version), None)
        mesh = (DESTINATION_RULE,) if isinstance(rollout.spec.traffic, IstioTraffic) else ()
        # The Deployment last: by it a version is seen to be there, and a turn that breaks off here is done again.
        for kind in (AUTOSCALER, DISRUPTION_BUDGET, *mesh, SERVICE, DEPLOYMENT):
            outcome = await self._delete(rollout.ref, kind, version)
            if not isinstance(outcome, Done):
                return outcome
        return Done()

    async def _settle_peers(self, asked: Served) -> Written:
        """Let the object's pods find each other where they compare their answers, and only there."""
        live = self._find_peers(asked)
        if live is not None and self._are_peers_settled(asked):
            return Done()
        if asked.serving.capture:
            return written(await self._writer.apply(render_peers(asked)))
        if live is None:
            return Done()
        outcome = await self._writer.delete(SERVICE, asked.ref.namespace, peers_name(asked.ref.name))
        return Done() if isinstance(outcome, Missing) else written(outcome)

    def _are_peers_settled(self, asked: Served) -> bool:
        live = self._find_peers(asked)
        if not asked.serving.capture:
            return live is None or not is_named_after(live, asked.ref.name)
        if live is None:
            return not self._store.is_complete(SERVICE)
        return self._conformity.holds(live, asked.ref, lambda: is_as_rendered(live, render_peers(asked)))

    def _find_peers(self, asked: Served) -> Object | None:
        return self._store.get(SERVICE, asked.ref.namespace, peers_name(asked.ref.name))

    async def _apply(self, asked: Served, obj: Object, live: Object | None) -> Written:
        if kind_of(obj) is not DEPLOYMENT:
            return await self._apply_beside(asked, obj)
        if live is not None and is_kept(live, obj):
            obj = await self._writer.with_its_own_pods(obj)
        if live is not None and asked.serving.autoscaling and holds_replicas(live):
            # Else what ours leaves out from now on would fall back to one pod.
            outcome = written(await self._writer.hand_over(_replicas(live), REPLICAS_MANAGER))
            if not isinstance(outcome, Done):
                return outcome
        outcome = written(await self._writer.apply(obj))
        return outcome if live is not None or not isinstance(outcome, Done) else await self._begin(asked)

    async def _apply_beside(self, asked: Served, obj: Object) -> Written:
        outcome = written(await self._writer.apply(obj))
        if kind_of(obj) is SERVICE and isinstance(outcome, Failed) and outcome.reason == "Invalid":
            # A port that somebody added has ours's name: applying merges ports by number.
            body = {"spec": {"ports": obj["spec"]["ports"]}}
            return written(await self._writer.patch(SERVICE, asked.ref.namespace, asked.name, body))
        return outcome

    async def _begin(self, asked: Served) -> Written:
        """Start a version with as many pods as its autoscaler would set some seconds later."""
        if asked.serving.autoscaling is None or asked.serving.pods == 1:
            return Done()
        body = {"spec": {"replicas": asked.serving.pods}}
        return written(await self._writer.patch(DEPLOYMENT, asked.ref.namespace, asked.name, body))

    async def _prune(self, rollout: Rollout, asked: Served) -> Written:
        """Remove what is not asked for any more."""
        for kind in self._strays(asked):
            outcome = await self._delete(rollout.ref, kind, asked.pin.version)
            if not isinstance(outcome, Done):
                return outcome
        return Done()

    def _strays(self, asked: Served) -> list[Kind]:
        return [kind for kind, wanted in _optional(asked).items() if not wanted and self._find(asked, kind) is not None]

    async def _delete(self, ref: Ref, kind: Kind, version: str) -> Written:
        name = workload_name(ref.name, version)
        known = self._store.get(kind, ref.namespace, name)
        if known is None and self._store.is_complete(kind):
            return Done()
        uid = known["metadata"]["uid"] if known else ""
        outcome = await self._writer.delete(kind, ref.namespace, name, uid)
        return Done() if isinstance(outcome, Missing) else written(outcome)

    def _workload(self, rollout: Rollout, deployment: Object, pods: Iterable[Object]) -> Workload:
        version, status, serving = _version(deployment), deployment.get("status") or {}, rollout.spec.serving
        pin = find_pin(rollout.status, version)
        current = is_rolled_out(deployment) and (pin is None or self._is_current(served(rollout, pin)))
        desired = serving.pods if serving.autoscaling else deployment["spec"].get("replicas", 1)
        ready = status.get("readyReplicas", 0)
        own = [pod for pod in pods if pod["metadata"]["labels"].get(VERSION) == version]
        trouble = self._refused.get((rollout.ref, version), "")
        return Workload(
            version, desired, ready, current, trouble or ("" if ready >= desired else find_trouble(deployment, own))
        )

    def _not_made(self, rollout: Rollout) -> dict[str, Workload]:
        """Return the versions that the API server would not take, with what it said."""
        refused = {version: says for (ref, version), says in self._refused.items() if ref == rollout.ref}
        pods = rollout.spec.serving.pods
        return {version: Workload(version, pods, 0, current=False, trouble=says) for version, says in refused.items()}

    def _note(self, asked: Served, outcome: Written) -> None:
        key = (asked.ref, asked.pin.version)
        if isinstance(outcome, Failed) and outcome.reason in REFUSALS:
            self._refused[key] = f"{outcome.reason}: {outcome.message}"
        elif isinstance(outcome, Done):
            self._refused.pop(key, None)

    def _is_current(self, asked: Served) -> bool:
        if self._strays(asked) or not self._are_peers_settled(asked):
            return False
        wanted = (kind for kind, asks in _optional(asked).items() if asks)
        kinds = (DEPLOYMENT, SERVICE, DISRUPTION_BUDGET, *wanted)
        found = ((kind, self._find(asked, kind)) for kind in kinds)
        # Before the first LIST nobody knows; a write finds out.
        return all(
            self._is_as_asked(live, asked, kind) if live else not self._store.is_complete(kind) for kind, live in found
        )

    def _is_as_asked(self, live: Object, asked: Served, kind: Kind) -> bool:
        def judge() -> bool:
            wanted = render_version(asked, self._settings)[kind.name]
            return is_deployed(live, wanted, keeps_pods=True) if kind is DEPLOYMENT else is_as_rendered(live, wanted)

        return self._conformity.holds(live, asked, judge)

    def _find(self, asked: Served, kind: Kind) -> Object | None:
        return self._store.get(kind, asked.ref.namespace, asked.name)


def _optional(asked: Served) -> dict[Kind, bool]:
    """Return the kinds that a version may have or not, and whether it is to."""
    return {AUTOSCALER: asked.serving.autoscaling is not None, DESTINATION_RULE: bool(asked.connections)}


def _replicas(live: Object) -> Object:
    metadata = {"name": live["metadata"]["name"], "namespace": live["metadata"]["namespace"]}
    head = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "metadata": metadata}
    return {**head, "spec": {"replicas": live["spec"].get("replicas", 1)}}


def find_pin(status: Status, version: str) -> Pin | None:
    """Return the pin of a version that the status knows."""
    pins = (status.stable, status.candidate, *status.previous)
    return next((pin for pin in pins if pin and pin.version == version), None)


def is_rolled_out(deployment: Object) -> bool:
    """Tell whether every pod that is to be there has been made from the newest template."""
    status, desired = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    seen = bool(status.get("observedGeneration", 0) >= deployment["metadata"]["generation"])
    return seen and bool(status.get("updatedReplicas", 0) >= desired)


def _version(deployment: Object) -> str:
    return str((deployment["metadata"].get("labels") or {}).get(VERSION, ""))
