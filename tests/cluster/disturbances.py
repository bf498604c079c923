"""The acts in which something is killed, deleted or tampered with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import exec_in_node
from cluster.demo.watching import Object
from tests.cluster.acts import QUIET
from tests.cluster.figures import note
from tests.cluster.scene import CLUSTER, SYSTEM, is_foreign
from tests.cluster.world import Recording, World

# A signal from inside a container cannot kill its first process; the node's can.
_KILL = """
for group in /proc/[0-9]*/cgroup; do
  grep -q -e "$1" -e "$2" "$group" 2>/dev/null || continue
  process=${group%/cgroup}
  grep -q modelramp "$process/cmdline" 2>/dev/null && kill -9 "${process#/proc/}"
done; true
"""
_TAMPER = """
import pathlib, sys
files = [path for path in pathlib.Path("/data/artifacts").rglob("*") if sys.argv[1] in str(path) and path.is_file()]
model = max(files, key=lambda path: path.stat().st_size)
model.write_bytes(model.read_bytes() + b" ")
print(model.name)
"""
_ROUTERS = "modelramp.dev/component=router"
READY_DEADLINE = "25s"


@dataclass(frozen=True)
class Disturbed:
    """Version 4's ramp, in which both operators were killed and pods were deleted."""

    recording: Recording
    killed: str
    killed_at: float
    followed_at: float
    restarted: Sequence[Object]
    forced_at: float
    pod_deleted_at: float
    pod_replaced_at: float


@dataclass(frozen=True)
class RouterLost:
    """One of two router pods deleted under load."""

    recording: Recording
    replaced_after: float


@dataclass(frozen=True)
class Tampered:
    """Version 5, whose files were changed after its pin was resolved."""

    recording: Recording
    digest: str
    file: str
    endings: Sequence[str]
    waiting: str


def disturbed_ramp(world: World) -> Disturbed:
    """Pin version 4; kill the leader at 10 %, the next one and a model pod at 50 %."""
    began = world.pin("4")
    world.until("v4 has 10 %", lambda: world.is_settled_at(10), 120)
    killed, killed_at = world.leader(), time.time()
    _sigkill(world, killed)
    world.until("v4 has 50 % under the next leader", lambda: world.is_settled_at(50), 90)
    followed_at, restarted = time.time(), world.pods(namespace=SYSTEM)
    forced_at = time.time()
    world.kubectl("delete", "pod", world.leader(), "--force", "--grace-period=0", namespace=SYSTEM)
    lost = world.model_pods("4")[0]["metadata"]["name"]
    pod_deleted_at = time.time()
    world.kubectl("delete", "pod", lost, "--wait=false")
    world.until("version 4 is stable", lambda: world.is_promoted("4"), 120)
    world.until("the pod is replaced", lambda: _is_replaced(world.model_pods("4"), lost, 2))
    pod_replaced_at = time.time()
    world.keep_looking(QUIET)
    return Disturbed(
        world.recorded(began), killed, killed_at, followed_at, restarted, forced_at, pod_deleted_at, pod_replaced_at
    )


def router_lost(world: World) -> RouterLost:
    """Delete one of two router pods."""
    began = time.time()
    lost = world.pods(_ROUTERS)[0]["metadata"]["name"]
    world.kubectl("delete", "pod", lost, "--wait=false")
    world.until("the router pod is replaced", lambda: _is_replaced(world.pods(_ROUTERS), lost, 2))
    replaced_after = time.time() - began
    world.keep_looking(QUIET)
    return RouterLost(world.recorded(began), replaced_after)


def _sigkill(world: World, pod: str) -> None:
    """Kill the operator in a pod with no chance to say goodbye; where the nodes are not ours, delete it by force."""
    if is_foreign():
        world.kubectl("delete", "pod", pod, "--force", "--grace-period=0", namespace=SYSTEM)
        return
    uid = world.get(f"/api/v1/namespaces/{SYSTEM}/pods/{pod}")["metadata"]["uid"]
    exec_in_node(["sh", "-c", _KILL, "sh", f"pod{uid}", f"pod{uid.replace('-', '_')}"], CLUSTER)


def _is_replaced(pods: Sequence[Object], lost: str, wanted: int) -> bool:
    names = {pod["metadata"]["name"] for pod in pods}
    ready = [pod for pod in pods if _is_ready(pod)]
    return lost not in names and len(ready) == wanted


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def tampered_artifact(world: World) -> Tampered:
    """Pin version 5 while no pod can start; change its files; let its pods start."""
    began = time.time()
    world.kubectl("create", "quota", "no-more-pods", "--hard=pods=0")
    world.pin("5", readyDeadline=READY_DEADLINE)
    world.until("the pin is resolved", lambda: world.status.get("phase") == "Starting", 60)
    pin = world.status["candidate"]
    inside = "exec", "deployment/mlflow", "--", "python", "-c", _TAMPER, _directory(pin["source"])
    file = world.kubectl(*inside).strip()
    world.kubectl("delete", "quota", "no-more-pods")
    world.until("a pod has said why it does not start", lambda: any(_endings(world.model_pods("5"))))
    endings = _endings(world.model_pods("5"))
    world.until("the object says it too", lambda: pin["digest"] in world.status.get("message", ""))
    waiting = str(world.status["message"])
    world.until("the attempt is over", lambda: world.status.get("phase") == "Rejected", 60)
    world.keep_looking(QUIET)
    note("tampered artifact, the object says", waiting)
    return Tampered(world.recorded(began), pin["digest"], file, endings, waiting)


def _directory(source: str) -> str:
    """Return the part of a source that its folder in the artifact store has too: the logged model's id."""
    return next(part for part in reversed(source.split("/")) if part and part not in ("artifacts", "model"))


def _endings(pods: Sequence[Object]) -> list[str]:
    """Return what containers said when they ended badly."""
    said = []
    for pod in pods:
        for container in pod["status"].get("initContainerStatuses") or ():
            states = container.get("state") or {}, container.get("lastState") or {}
            said += [
                ended["message"] for state in states if (ended := state.get("terminated")) and ended.get("message")
            ]
    return said
