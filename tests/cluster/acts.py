"""The story: each act plays, waits for what must come about, and returns what was recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cluster.demo.observed import Answer
from cluster.demo.watching import Object
from modelramp.adapters import kinds
from tests.cluster.figures import note
from tests.cluster.limit import LimitWatch, Reading
from tests.cluster.model.traffic import PROBES
from tests.cluster.scene import MODEL, NAMESPACE, RELEASE, SYSTEM
from tests.cluster.world import TRAFFIC, Recording, World

RATE = 150  # requests a second
NEW_CATEGORY = 0.5  # share of the transactions, once it is on the market
BREAKS_AT = 10  # percent
_OWNED = (
    kinds.DEPLOYMENT,
    kinds.POD,
    kinds.SERVICE,
    kinds.CONFIG_MAP,
    kinds.SERVICE_ACCOUNT,
    kinds.ROLE,
    kinds.ROLE_BINDING,
)
QUIET = 2.0  # seconds of looking on after a decision
SWEPT_WITHIN = 90.0


@dataclass(frozen=True)
class First:
    """The first version."""

    recording: Recording
    versions: tuple[str, ...]
    scores: Sequence[Sequence[float]]
    trained: Object
    pods: Sequence[Object]


@dataclass(frozen=True)
class Breach:
    """The third version, which broke, and the guardrail's question about it all the while."""

    recording: Recording
    broken_at: float
    readings: Sequence[Reading]


@dataclass(frozen=True)
class ByHand:
    """Traffic moved with no operator, and the operator's return."""

    recording: Recording
    patched_at: float
    operators: int
    alone: Recording
    returned_at: float


@dataclass(frozen=True)
class Whole:
    """Every answer from the first act on; the operator's calls of the API, those that were refused; the events."""

    answers: Sequence[Answer]
    refused: float | None
    asked: float | None
    events: Sequence[str]


@dataclass(frozen=True)
class LetGo:
    """The object is gone, seconds after the command; what it owned goes, and how many seconds that takes is watched."""

    gone: float
    swept: Future[float]


@dataclass(frozen=True)
class Deletion:
    """How the object went: seconds from the command."""

    gone: float
    left: dict[str, int]
    swept: float


def first_version(world: World) -> First:
    """Register and apply version 1; requests begin once it serves."""
    began = time.time()
    world.load.now()
    registered, world.rest = world.training.register("1"), world.training.register("2", "3", "4", "5")
    trained = registered.result(120)["1"]
    world.kubectl("apply", "-f", str(world.place.manifest))
    applied = time.time()
    world.until("version 1 is stable", lambda: world.is_promoted("1"), 120)
    note("v1: applied to stable, seconds", f"{time.time() - applied:.1f}")
    world.kubectl("wait", "--for=condition=Ready", f"modeldeployment/{MODEL}", "--timeout=60s")
    world.kubectl("rollout", "status", f"deployment/{MODEL}-router", "--timeout=60s")
    answers = [world.predict(PROBES) for _ in range(8)]
    world.load.send(RATE)
    world.until("requests are answered", lambda: world.all_from("1"))
    world.keep_looking(QUIET)
    versions, scores = tuple(version for version, _ in answers), answers[0][1]
    return First(world.recorded(began), versions, scores, trained, world.pods())


def promotion(world: World) -> Recording:
    """Pin version 2, and see it through."""
    if world.rest:
        world.rest.result(180)
    began = world.pin("2")
    world.until("version 2 is stable", lambda: world.is_promoted("2"), 150)
    world.until("all answers are version 2's", lambda: world.all_from("2"))
    world.keep_looking(QUIET)
    note("v2: pinned to stable, seconds", f"{time.time() - began:.1f}")
    return world.recorded(began)


def breach(world: World) -> Breach:
    """Pin version 3, and let the world change in mid-ramp."""
    began = world.pin("3")
    world.until(f"v3 has {BREAKS_AT} %", lambda: world.is_settled_at(BREAKS_AT), 120)
    with LimitWatch(world, "3", "2") as limit:
        world.until("the guardrail's question has an answer", lambda: len(limit.readings) > 3)
        broken_at = time.time()
        world.load.bring_new_category(NEW_CATEGORY)
        world.until("the rollback", lambda: world.status.get("phase") == "RolledBack", 30)
        world.until("all answers are version 2's", lambda: world.all_from("2"))
        world.keep_looking(QUIET)
    return Breach(world.recorded(began), broken_at, tuple(limit.readings))


def back_by_the_pin(world: World) -> Recording:
    """Pin version 1 again, which is warm."""
    began = world.pin("1")
    world.until("version 1 is stable", lambda: world.is_promoted("1"))
    world.until("all answers are version 1's", lambda: world.all_from("1"))
    world.keep_looking(QUIET)
    return world.recorded(began)


def back_by_hand(world: World) -> ByHand:
    """Take the operator away, send traffic back to version 2 at its ConfigMap, bring the operator back."""
    began = _scale_operator(world, 0)
    world.until("no operator is left", lambda: not world.pods(namespace=SYSTEM))
    patched_at = world.patch("configmap", TRAFFIC, {"data": {"weight.v1": "0", "weight.v2": "100"}})
    world.until("all answers are version 2's", lambda: world.all_from("2"))
    world.keep_looking(QUIET)
    alone, operators = world.recorded(patched_at), len(world.pods(namespace=SYSTEM))
    returned_at = _scale_operator(world, 2)
    world.until("the operator has taken it over", lambda: world.status.get("phase") == "RolledBack", 90)
    world.keep_looking(15.0)
    return ByHand(world.recorded(began), patched_at, operators, alone, returned_at)


def _scale_operator(world: World, replicas: int) -> float:
    began = time.time()
    world.kubectl("scale", f"deployment/{RELEASE}", f"--replicas={replicas}", namespace=SYSTEM)
    return began


def whole(world: World) -> Whole:
    """Sum up."""
    world.look()
    refused = world.ask('sum(max_over_time(modelramp_api_requests_total{code=~"401|403"}[1h])) or vector(0)')
    asked = world.ask("sum(max_over_time(modelramp_api_requests_total[1h]))")
    said = world.kubectl("get", "events", "--output=custom-columns=MESSAGE:.message", "--no-headers").splitlines()
    return Whole(tuple(world.load.answers), refused, asked, tuple(said))


def let_go(world: World) -> LetGo:
    """Delete the object."""
    world.look()
    world.load.send(0)
    began = time.time()
    world.kubectl("delete", "mdep", MODEL, "--wait=false")
    path = f"/apis/modelramp.dev/v1alpha1/namespaces/{NAMESPACE}/modeldeployments/{MODEL}"
    world.until("the object is gone", lambda: world.get(path) is None, 60)
    return LetGo(time.time() - began, ThreadPoolExecutor(1).submit(_until_swept, world, began))


def _until_swept(world: World, began: float) -> float:
    while any(_owned(world).values()) and time.time() < began + SWEPT_WITHIN:
        time.sleep(0.2)
    return time.time() - began


def deletion(world: World, let_go: LetGo) -> Deletion:
    """Wait for what the object owned to go."""
    swept = let_go.swept.result()
    return Deletion(let_go.gone, _owned(world), swept)


def _owned(world: World) -> dict[str, int]:
    """Return how many objects of each kind are there that the operator made for the object."""
    selector = f"?labelSelector=modelramp.dev/name%3D{MODEL}"
    return {kind.plural: len(world.get(kind.path(NAMESPACE) + selector)["items"]) for kind in _OWNED}
