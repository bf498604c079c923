"""The one Lease object of the election, in coordination.k8s.io/v1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, assert_never

from modelramp.adapters.kinds import LEASE, Object
from modelramp.adapters.kubernetes import Answer, Cluster, Missing, Reply
from modelramp.ports import Clock, Conflict, Ref
from modelramp.rollout.observation import Failed, NoData

_SERVERS_OWN = ("managedFields", "resourceVersion", "uid", "creationTimestamp")


@dataclass(frozen=True, slots=True)
class Held:
    """A Lease as it was read; `holder` is empty when it was released."""

    holder: str
    transitions: int
    duration: timedelta
    resource_version: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a candidate writes; an empty holder releases; `acquired` begins a leadership."""

    holder: str
    transitions: int
    duration: timedelta
    acquired: bool = False


class Leases(Protocol):
    """Where the election is held: three calls, of which `replace` decides who wins."""

    async def read(self) -> Held | NoData | Failed:
        """Read the Lease; NoData when it does not exist."""
        ...

    async def create(self, claim: Claim) -> Held | Conflict | Failed:
        """Create the Lease; Conflict when it exists."""
        ...

    async def replace(self, claim: Claim, resource_version: str) -> Held | Conflict | Failed:
        """Write the Lease if it is still at that version; one that was deleted is made anew."""
        ...


class LeaseObject:
    """`Leases` on a real API server. What others wrote into the Lease's metadata stays."""

    def __init__(self, cluster: Cluster, ref: Ref, clock: Clock) -> None:
        """Take a `cluster` that serves nothing else: calls that hang elsewhere must not hold up a renewal."""
        self._cluster, self._ref, self._clock = cluster, ref, clock
        self._metadata: Object = {"namespace": ref.namespace, "name": ref.name}
        self._acquired_at = ""

    async def read(self) -> Held | NoData | Failed:
        """Read the Lease; NoData when it does not exist."""
        read = self._judge(await self._cluster.get(LEASE, self._ref.namespace, self._ref.name))
        return Failed("Conflict", read.message) if isinstance(read, Conflict) else read

    async def create(self, claim: Claim) -> Held | Conflict | Failed:
        """Create the Lease; Conflict when it exists, Failed when its namespace does not."""
        metadata = {"namespace": self._ref.namespace, "name": self._ref.name}
        return self._written(await self._cluster.create(self._object(metadata, claim)))

    async def replace(self, claim: Claim, resource_version: str) -> Held | Conflict | Failed:
        """Write the Lease if it is still at that version; one that was deleted the API server makes anew."""
        metadata = {**self._metadata, "resourceVersion": resource_version}
        return self._written(await self._cluster.replace(self._object(metadata, claim)))

    def _written(self, answer: Answer) -> Held | Conflict | Failed:
        written = self._judge(answer)
        return Failed("NoNamespace", written.message) if isinstance(written, NoData) else written

    def _object(self, metadata: Object, claim: Claim) -> Object:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._acquired_at = now if claim.acquired else self._acquired_at
        spec = {
            "holderIdentity": claim.holder,
            "leaseTransitions": claim.transitions,
            "leaseDurationSeconds": int(claim.duration.total_seconds()),
            "renewTime": now,
        } | ({"acquireTime": self._acquired_at} if self._acquired_at else {})
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}

    def _judge(self, answer: Answer) -> Held | Conflict | NoData | Failed:
        match answer:
            case Reply(lease):
                metadata = lease["metadata"]
                self._metadata = {key: metadata[key] for key in metadata if key not in _SERVERS_OWN}
                return _parsed(lease)
            case Missing(message):
                return NoData("NoLease", message)
            case Conflict() | Failed():
                return answer
            case _:
                assert_never(answer)


def _parsed(lease: Object) -> Held:
    spec: dict[str, Any] = lease.get("spec") or {}
    return Held(
        holder=spec.get("holderIdentity") or "",
        transitions=int(spec.get("leaseTransitions") or 0),
        duration=timedelta(seconds=int(spec.get("leaseDurationSeconds") or 15)),
        resource_version=str(lease["metadata"]["resourceVersion"]),
    )
