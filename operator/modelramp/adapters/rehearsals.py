"""Rehearsals as Jobs: read from the store, created once, and their results from how their containers ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from modelramp.adapters.jobspec import REHEARSAL, job_name, render_rehearsal
from modelramp.adapters.kinds import ATTEMPT, JOB, POD, Object
from modelramp.adapters.kubernetes import Cluster, Missing, Reply
from modelramp.adapters.listing import read_owned
from modelramp.adapters.podspec import PodSettings
from modelramp.adapters.refusals import PACE, Pace, PodRefusals
from modelramp.adapters.store import Store
from modelramp.adapters.trouble import find_trouble
from modelramp.adapters.writer import Writer, written
from modelramp.api.codec import UnreadableError, reader
from modelramp.ports import Conflict, Done, Ref, Rollout, Written
from modelramp.rollout.actions import RunRehearsal
from modelramp.rollout.observation import Busy, Failed, Reading, Rehearsal, Value

CONTROLLER = "batch.kubernetes.io/controller-uid"
"""Which Job made a pod, by the Job controller's own hand: a Job before this one may have had its name."""


class ClusterRehearsals:
    """Jobs that the ModelDeployment owns."""

    def __init__(
        self, cluster: Cluster, store: Store, writer: Writer, settings: PodSettings, pace: Pace = PACE
    ) -> None:
        """Take the pace at which it is asked why a Job has no pods."""
        self._cluster = cluster
        self._refusals = PodRefusals(cluster, pace)
        self._store = store
        self._writer = writer
        self._settings = settings
        self._unmade: dict[Ref, dict[str, Failed]] = {}
        """Why the newest Job of an object could not be made."""

    async def read(self, rollout: Rollout) -> Reading[Mapping[str, Rehearsal | Busy | Failed]]:
        """Read every Job that this object owns; asks the API server before the first LIST, and why one has no pods."""
        if failed := await read_owned(self._cluster, self._store, (JOB, POD), rollout.ref):
            return failed
        jobs, pods = self._store.members(JOB, rollout.ref), self._store.members(POD, rollout.ref)
        made = {_attempt(job): await self._judge(job, _pods_of(job, pods)) for job in jobs if _attempt(job)}
        return Value({**self._unmade.get(rollout.ref, {}), **made})

    async def _judge(self, job: Object, pods: list[Object]) -> Rehearsal | Busy:
        judged = judge_job(job, pods)
        if pods or judged != Busy(""):
            self._refusals.forget(job)
            return judged
        return Busy(await self._refusals.read(job))

    async def run(self, rollout: Rollout, wanted: RunRehearsal) -> Written:
        """Create the attempt's Job; one of that name stays as it is, or is somebody else's."""
        outcome = await self._create(rollout, wanted)
        self._unmade.pop(rollout.ref, None)
        if isinstance(outcome, Failed):
            self._unmade[rollout.ref] = {wanted.attempt: outcome}
        return outcome

    async def _create(self, rollout: Rollout, wanted: RunRehearsal) -> Written:
        job = render_rehearsal(rollout, wanted, self._settings)
        outcome = await self._writer.create(job)
        if not isinstance(outcome, Conflict):
            return written(outcome)
        match await self._writer.refresh(JOB, rollout.ref.namespace, job["metadata"]["name"]):
            case Reply(live) if _attempt(live) != wanted.attempt:
                return Failed("NameTaken", f"Job {rollout.ref.namespace}/{live['metadata']['name']} is not modelramp's")
            case Reply():
                return Done()
            case other:
                return written(other)

    async def stop(self, rollout: Rollout, attempt: str) -> Written:
        """Delete the attempt's Job with its pods; what is already gone is done."""
        namespace, name = rollout.ref.namespace, job_name(rollout.ref.name, attempt)
        known = self._store.get(JOB, namespace, name)
        if known:
            self._refusals.forget(known)
        outcome = await self._writer.delete(JOB, namespace, name, known["metadata"]["uid"] if known else "")
        return Done() if isinstance(outcome, Missing) else written(outcome)


def _attempt(job: Object) -> str:
    return str((job["metadata"].get("labels") or {}).get(ATTEMPT, ""))


def _pods_of(job: Object, pods: Iterable[Object]) -> list[Object]:
    uid = job["metadata"]["uid"]
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(CONTROLLER) == uid]


def judge_job(job: Object, pods: list[Object]) -> Rehearsal | Busy:
    """Return the result of a Job, or why there will be none, or what it waits for."""
    messages = [message for pod in pods for message in _results(pod)]
    if messages:
        return read_result(messages[0])
    trouble = find_trouble({}, pods)
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["status"] != "True":
            continue
        if condition["type"] == "Failed":
            said = f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}"
            return Rehearsal(problem=f"the Job failed: {trouble or said}")
        if condition["type"] == "Complete":
            return Busy("its Job is complete, and its pod with the result is not there")
    return Busy(trouble)


def _results(pod: Object) -> Iterator[str]:
    """Yield what the container left on purpose when it ended well."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (status.get("state") or {}).get("terminated")
        if status["name"] == REHEARSAL and ended and ended.get("exitCode") == 0:
            yield ended.get("message") or ""


def read_result(message: str) -> Rehearsal:
    """Read what `modelramp_runtime.rehearsal` tells; what cannot be read is no result, and is not shown."""
    try:
        result: Rehearsal = reader(Rehearsal)(json.loads(message))
    except (ValueError, UnreadableError, TypeError):
        return Rehearsal(problem="its result cannot be read: is the image of the runtime as new as the operator's?")
    return result
