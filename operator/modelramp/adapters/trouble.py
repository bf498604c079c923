"""What keeps a version's pods from being ready, in the words of the cluster itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from modelramp.adapters.kinds import Object

LONGEST = 500
# Waiting for these is normal.
_PATIENT = ("ContainerCreating", "PodInitializing")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def find_trouble(deployment: Object, pods: Iterable[Object]) -> str:
    """Return the most telling complaint on one line, or an empty string."""
    complaints = (*(said for pod in pods for said in _pod_troubles(pod)), *_deployment_troubles(deployment))
    return next((presentable(said) for said in complaints), "")


def presentable(said: str) -> str:
    """Return a complaint as one line that is not too long, without credentials of an address."""
    line = _CREDENTIALS.sub("", " ".join(said.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _pod_troubles(pod: Object) -> Iterator[str]:
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        yield from _container_troubles(container)
    for condition in status.get("conditions") or ():
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            yield f"{condition.get('reason', 'Unscheduled')}: {condition.get('message', '')}"


def _container_troubles(container: Object) -> Iterator[str]:
    """Yield why a container waits or ended, with the message that its program left on purpose."""
    waiting = (container.get("state") or {}).get("waiting") or {}
    ended = [each.get("terminated") for each in (container.get("state") or {}, container.get("lastState") or {})]
    bad = next((each for each in ended if each and each.get("exitCode")), None)
    # Between two tries the container runs; what the last one said still is why the pod is not ready.
    if bad and not container.get("ready"):
        said = bad.get("message") or f"{bad.get('reason', 'Error')}, exit code {bad['exitCode']}"
        yield f"{waiting.get('reason') or bad.get('reason', 'Error')}: container {container['name']}: {said}"
    elif waiting and waiting.get("reason") not in _PATIENT:
        yield f"{waiting.get('reason')}: container {container['name']}: {waiting.get('message', '')}"


def _deployment_troubles(deployment: Object) -> Iterator[str]:
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        stuck = (condition["type"], condition["status"]) in (("ReplicaFailure", "True"), ("Progressing", "False"))
        if stuck:
            yield f"{condition.get('reason', condition['type'])}: {condition.get('message', '')}"
