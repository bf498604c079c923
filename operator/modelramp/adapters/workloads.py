"""The pods of each version: one Deployment and one Service, read from the store and applied server-side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modelramp.adapters.kinds import DEPLOYMENT, NAME, POD, SERVICE, VERSION, Kind, Object
from modelramp.adapters.kubernetes import Cluster, Listing, Missing
from modelramp.adapters.live import Conformity
from modelramp.adapters.podspec import PodSettings, render_workload, served, workload_name
from modelramp.adapters.store import Store
from modelramp.adapters.trouble import find_trouble
from modelramp.adapters.writer import Outcome, Writer, written
from modelramp.ports import Done, Ref, Rollout, Written
from modelramp.rollout.observation import Failed, Reading, Value, Workload
from modelramp.rollout.status import Pin, Status


class ClusterWorkloads:
    """Versions as Deployments and Services that the ModelDeployment owns."""

    def __init__(self, cluster: Cluster, store: Store, writer: Writer, settings: PodSettings) -> None:
        self._cluster = cluster
        self._store = store
        self._writer = writer
        self._settings = settings
        self._conformity = Conformity()

    async def read(self, rollout: Rollout) -> Reading[Mapping[str, Workload]]:
        """Read every version's workload that this object owns; asks the API server only before the first LIST."""
        for kind in (DEPLOYMENT, POD):
            if not self._store.is_complete(kind) and (failed := await self._list(kind, rollout.ref)):
                return failed
        pods = self._store.members(POD, rollout.ref)
        found = [each for each in self._store.members(DEPLOYMENT, rollout.ref) if _version(each)]
        return Value({_version(each): self._workload(rollout, each, pods) for each in found})

    async def run(self, rollout: Rollout, pin: Pin) -> Written:
        """Apply the version's Deployment and Service, where they are not already as the spec asks."""
        live = self._find(rollout, DEPLOYMENT, pin.version)
        if live is not None and self._is_as_rendered(rollout, live, pin):
            return Done()
        deployment, service = render_workload(served(rollout, pin), self._settings)
        # The Service first: the router must find its name before it is told of the version.
        for obj in (service, deployment):
            outcome = written(await self._writer.apply(obj))
            if not isinstance(outcome, Done):
                return outcome
        return Done()

    async def stop(self, rollout: Rollout, version: str) -> Written:
        """Delete the version's Deployment and Service; what is already gone is done."""
        for kind in (DEPLOYMENT, SERVICE):
            outcome = await self._delete(rollout, kind, version)
            if not isinstance(outcome, Missing) and not isinstance(said := written(outcome), Done):
                return said
        return Done()

    async def _delete(self, rollout: Rollout, kind: Kind, version: str) -> Outcome:
        known = self._find(rollout, kind, version)
        uid = known["metadata"]["uid"] if known else ""
        return await self._writer.delete(kind, rollout.ref.namespace, workload_name(rollout.ref.name, version), uid)

    async def _list(self, kind: Kind, ref: Ref) -> Failed | None:
        answer = await self._cluster.list(kind, ref.namespace, f"{NAME}={ref.name}")
        if not isinstance(answer, Listing):
            return answer
        for obj in answer.items:
            self._store.put(kind, obj)
        return None

    def _workload(self, rollout: Rollout, deployment: Object, pods: Iterable[Object]) -> Workload:
        version, status = _version(deployment), deployment.get("status") or {}
        pin = find_pin(rollout.status, version)
        current = is_rolled_out(deployment) and (pin is None or self._is_as_rendered(rollout, deployment, pin))
        desired, ready = deployment["spec"].get("replicas", 1), status.get("readyReplicas", 0)
        own = [pod for pod in pods if pod["metadata"]["labels"].get(VERSION) == version]
        return Workload(version, desired, ready, current, "" if ready >= desired else find_trouble(deployment, own))

    def _is_as_rendered(self, rollout: Rollout, live: Object, pin: Pin) -> bool:
        if self._store.is_complete(SERVICE) and self._find(rollout, SERVICE, pin.version) is None:
            return False
        asked = served(rollout, pin)
        return self._conformity.holds(live, asked, lambda: render_workload(asked, self._settings)[0])

    def _find(self, rollout: Rollout, kind: Kind, version: str) -> Object | None:
        return self._store.get(kind, rollout.ref.namespace, workload_name(rollout.ref.name, version))


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
