"""The one way in which adapters write: only while leading, and what the API server answers is known at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from modelramp.adapters.kinds import NAME, Kind, Object, kind_of
from modelramp.adapters.kubernetes import Answer, Cluster, Missing, Reply
from modelramp.adapters.ownership import is_named_after
from modelramp.adapters.store import Store
from modelramp.adapters.templates import applied_template, with_template
from modelramp.lease import Lease
from modelramp.ports import Conflict, Deposed, Done, Written
from modelramp.rollout.observation import Failed

Outcome = Answer | Deposed


class Writer:
    """Writes through to the store, and nothing at all when the lease is not held."""

    def __init__(self, cluster: Cluster, store: Store, lease: Lease) -> None:
        self._cluster = cluster
        self._store = store
        self._lease = lease

    @property
    def epoch(self) -> int:
        """Return the number of this leadership."""
        return self._lease.epoch

    def may_write(self) -> bool:
        """Tell whether this process leads."""
        return self._lease.held()

    async def create(self, obj: Object) -> Outcome:
        """Create an object."""
        return await self._write(kind_of(obj), lambda: self._cluster.create(obj))

    async def apply(self, obj: Object) -> Outcome:
        """Apply an object of ours server-side; one of the same name that is somebody else's is left alone."""
        kind, namespace, name = kind_of(obj), obj["metadata"]["namespace"], obj["metadata"]["name"]
        owner, known = obj["metadata"]["labels"][NAME], self._store.get(kind, namespace, name)
        if self._lease.held() and (known is None or not is_named_after(known, owner)):
            match await self.refresh(kind, namespace, name):
                case Reply(live) if not is_named_after(live, owner):
                    return Failed("NameTaken", f"{kind.name} {namespace}/{name} exists and is not modelramp's")
                case Failed() as failed:
                    return failed
        return await self._write(kind, lambda: self._cluster.apply(obj))

    async def hand_over(self, obj: Object, manager: str) -> Outcome:
        """Apply some fields of an object that is there for another manager, so that ours may leave them out."""
        return await self._write(kind_of(obj), lambda: self._cluster.apply(obj, manager))

    async def patch(self, kind: Kind, namespace: str, name: str, body: Object | Sequence[Object]) -> Outcome:
        """Patch an object: a mapping is a merge patch, a list a JSON patch."""
        return await self._write(kind, lambda: self._cluster.patch(kind, namespace, name, body))

    async def replace_status(self, obj: Object) -> Outcome:
        """Replace an object's status."""
        return await self._write(kind_of(obj), lambda: self._cluster.replace(obj, "status"))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str = "") -> Outcome:
        """Delete an object."""
        known = self._store.get(kind, namespace, name)
        outcome = await self._write(kind, lambda: self._cluster.delete(kind, namespace, name, uid=uid))
        # A delete is answered with a Status, unless a finalizer keeps the object.
        gone = isinstance(outcome, Missing) or (isinstance(outcome, Reply) and outcome.object["kind"] == "Status")
        if known and gone:
            self._store.drop(kind, known)
        return outcome

    async def with_its_own_pods(self, deployment: Object) -> Object:
        """Return a Deployment with the pods that an older operator applied it with, read from the API server."""
        metadata = deployment["metadata"]
        answer = await self.refresh(kind_of(deployment), metadata["namespace"], metadata["name"])
        template = applied_template(answer.object) if isinstance(answer, Reply) else None
        return with_template(deployment, template) if template else deployment

    async def refresh(self, kind: Kind, namespace: str, name: str) -> Answer:
        """Read an object from the API server into the store."""
        answer = await self._cluster.get(kind, namespace, name)
        if isinstance(answer, Reply):
            self._store.put(kind, answer.object)
        elif isinstance(answer, Missing) and (known := self._store.get(kind, namespace, name)):
            self._store.drop(kind, known)
        return answer

    async def _write(self, kind: Kind, call: Callable[[], Awaitable[Answer]]) -> Outcome:
        if not self._lease.held():
            return Deposed()
        answer = await call()
        if isinstance(answer, Reply) and answer.object.get("kind") == kind.name:
            (self._store.drop if _is_gone(answer.object) else self._store.put)(kind, answer.object)
        return answer


def _is_gone(answered: Object) -> bool:
    """Tell whether this was the write that let a deleted object go."""
    metadata = answered["metadata"]
    return "deletionTimestamp" in metadata and not metadata.get("finalizers")


def written(outcome: Outcome) -> Written:
    """Return what a write's outcome means to the loop; an object that is away by now has to be read again."""
    match outcome:
        case Reply():
            return Done()
        case Missing(message):
            return Conflict(message)
        case Conflict() | Deposed() | Failed():
            return outcome
