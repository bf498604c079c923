"""The ModelDeployments: read from the store, status written under the version that was read, our finalizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from modelramp.adapters.authors import MANAGERS
from modelramp.adapters.kinds import FINALIZER, MODEL_DEPLOYMENT, Object
from modelramp.adapters.kubernetes import Missing, Reply
from modelramp.adapters.slim import slim
from modelramp.adapters.store import Store
from modelramp.adapters.writer import Outcome, Writer, written
from modelramp.api.convert import dump_status, read_spec, read_status, read_traffic
from modelramp.api.problem import Problem
from modelramp.api.run import Runtimes
from modelramp.ports import Conflict, Done, Ref, Rollout, Written
from modelramp.rollout.machine import sound
from modelramp.rollout.observation import Failed, NoData, Reading, Value
from modelramp.rollout.spec import Spec
from modelramp.rollout.status import Status


class ClusterObjects:
    """ModelDeployments of an API server; each version of an object is parsed once."""

    def __init__(self, store: Store, writer: Writer, runtimes: Runtimes | None = None) -> None:
        self._store = store
        self._writer = writer
        self._runtimes = runtimes or {}
        self._parsed: dict[Ref, tuple[str, Rollout]] = {}

    async def read(self, ref: Ref) -> Reading[Rollout]:
        """Read the newest known state; asks the API server only for what the store does not have."""
        known = self._store.get(MODEL_DEPLOYMENT, ref.namespace, ref.name)
        if known is not None:
            return self._parse(ref, known)
        match await self._writer.refresh(MODEL_DEPLOYMENT, ref.namespace, ref.name):
            case Reply(obj):
                return self._parse(ref, slim(MODEL_DEPLOYMENT, obj))
            case Missing():
                self._parsed.pop(ref, None)
                return NoData("Gone", f"there is no ModelDeployment {ref}")
            case Conflict(message):
                return Failed("Conflict", message)
            case failed:
                return failed

    async def remember(self, rollout: Rollout, status: Status) -> Written:
        """Write the status if nobody wrote since `rollout` was read; after a conflict the newest is read."""
        body = {
            "apiVersion": MODEL_DEPLOYMENT.api_version,
            "kind": MODEL_DEPLOYMENT.name,
            "metadata": {
                "namespace": rollout.ref.namespace,
                "name": rollout.ref.name,
                "uid": rollout.uid,
                "resourceVersion": rollout.resource_version,
            },
            "status": dump_status(status),
        }
        return await self._concluded(rollout.ref, await self._writer.replace_status(body))

    async def claim(self, rollout: Rollout) -> Written:
        """Put our finalizer on, beside those of others."""
        finalizers = self._finalizers(rollout)
        if FINALIZER in finalizers:
            return Done()
        operation: Object = {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}
        if not finalizers:
            operation = {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}
        return await self._edit(rollout, finalizers, operation)

    async def release(self, rollout: Rollout) -> Written:
        """Take our finalizer off; an object that is already gone is let go."""
        finalizers = self._finalizers(rollout)
        if FINALIZER not in finalizers:
            return Done()
        operation = {"op": "remove", "path": f"/metadata/finalizers/{finalizers.index(FINALIZER)}"}
        return await self._edit(rollout, finalizers, operation, gone=Done())

    def _finalizers(self, rollout: Rollout) -> Sequence[str]:
        known = self._store.get(MODEL_DEPLOYMENT, rollout.ref.namespace, rollout.ref.name)
        return list((known["metadata"].get("finalizers") if known else None) or ())

    async def _edit(
        self, rollout: Rollout, seen: Sequence[str], operation: Object, gone: Written | None = None
    ) -> Written:
        # Not the resourceVersion: this turn's own status write has already moved it on.
        guards: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": rollout.uid},
            {"op": "test", "path": "/metadata/finalizers", "value": list(seen) or None},
        ]
        ref = rollout.ref
        outcome = await self._writer.patch(MODEL_DEPLOYMENT, ref.namespace, ref.name, [*guards, operation])
        if isinstance(outcome, Missing) and gone is not None:
            return gone
        return await self._concluded(ref, outcome)

    async def _concluded(self, ref: Ref, outcome: Outcome) -> Written:
        if isinstance(outcome, Missing | Conflict):
            await self._writer.refresh(MODEL_DEPLOYMENT, ref.namespace, ref.name)
        return written(outcome)

    def _parse(self, ref: Ref, obj: Object) -> Reading[Rollout]:
        version = obj["metadata"]["resourceVersion"]
        seen, known = self._parsed.get(ref, ("", None))
        if known is not None and (seen, known.uid) == (version, obj["metadata"]["uid"]):
            return Value(known)
        rollout = _rollout(ref, obj, _spec(obj, known, self._runtimes))
        self._parsed[ref] = (version, rollout)
        return Value(rollout)


def _spec(obj: Object, known: Rollout | None, runtimes: Runtimes) -> Spec:
    """Return the spec, the parsed one where it has not changed; one that cannot be used stops neither a deletion nor
    the guardrails: then it is the one before, or what the attempt remembers, with the problem."""
    metadata = obj["metadata"]
    before = known if known is not None and known.uid == metadata["uid"] else None
    if before is not None and before.generation == metadata["generation"]:
        return before.spec
    spec = read_spec(obj, runtimes)
    if not isinstance(spec, Problem):
        return spec
    return replace(before.spec if before else _remembered(obj), problem=str(spec))


def _remembered(obj: Object) -> Spec:
    """Return as much of a spec as protection needs: the model's name, the route, and what an attempt has copied."""
    attempt, model = read_status(obj).attempt, (obj.get("spec") or {}).get("model")
    name = str(model.get("name", "")) if isinstance(model, dict) else ""
    traffic = read_traffic(obj)
    return (
        Spec(name, attempt.version, plan=attempt.plan, traffic=traffic) if attempt else Spec(name, "", traffic=traffic)
    )


def _rollout(ref: Ref, obj: Object, spec: Spec) -> Rollout:
    metadata = obj["metadata"]
    since: Any = metadata.get("deletionTimestamp")
    return Rollout(
        ref=ref,
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=metadata["resourceVersion"],
        spec=spec,
        status=sound(read_status(obj)),
        deleting=since is not None,
        deleting_since=datetime.fromisoformat(since) if since else None,
        claimed=FINALIZER in (metadata.get("finalizers") or ()),
        managers=metadata.get(MANAGERS) or {},
        labels=metadata.get("labels") or {},
    )
