"""The story once more, on a route of a VirtualService: istiod hands it to the Envoy that all clients go through."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.demo.observed import departure
from tests.cluster.acts import NEW_CATEGORY, QUIET
from tests.cluster.figures import note
from tests.cluster.scene import FRONT, MODEL
from tests.cluster.world import ROUTE, Recording, World, split_of

RATE = 120  # requests a second
SENT_BACK_AT = 10  # percent
SHIFTS = "1", "2", "1", "2", "1", "2"


@dataclass(frozen=True)
class Breach:
    """The third version, which broke, and when that began."""

    recording: Recording
    broken_at: float


@dataclass(frozen=True)
class Shifts:
    """All traffic moved again and again: each time seconds from the write to the last answer of the version before."""

    recording: Recording
    seconds: Sequence[float]


@dataclass(frozen=True)
class ByHand:
    """The fourth version, sent back at the VirtualService in its ramp."""

    recording: Recording
    patched_at: float


def first_version(world: World) -> Recording:
    """Apply version 1 where the user's route leads to it already; requests begin once the mesh has it."""
    began = time.time()
    for part in ("istiod", FRONT, "load"):
        world.kubectl("rollout", "status", f"deployment/{part}", "--timeout=60s")
    world.load.now()
    world.kubectl("apply", "-f", str(world.place.manifest))
    world.until("version 1 is stable", lambda: world.is_promoted("1"), 90)
    world.until("a request is answered", world.load.gets_through, 30)
    world.load.send(RATE)
    world.until("requests are answered", lambda: world.all_from("1"))
    return world.recorded(began)


def promotion(world: World) -> Recording:
    """Pin version 2, and see it through."""
    began = world.pin("2")
    world.until("version 2 is stable", lambda: world.is_promoted("2"), 120)
    world.until("all answers are version 2's", lambda: world.all_from("2"))
    note("mesh, v2: pinned to stable, seconds", f"{time.time() - began:.1f}")
    return world.recorded(began)


def shifts(world: World) -> Shifts:
    """Pin the warm version, and the other one, and again."""
    began = time.time()
    seconds = [_shift(world, version) for version in SHIFTS]
    return Shifts(world.recorded(began), seconds)


def _shift(world: World, version: str) -> float:
    (before,) = (key.removeprefix("weight.v") for key in world.split)
    began = world.pin(version)
    world.until(f"version {version} is stable", lambda: world.is_promoted(version))
    world.until(f"all answers are version {version}'s", lambda: world.all_from(version))
    recording = world.recorded(began)
    moved = next(sight for sight in recording.routes if split_of(sight.object) == {f"weight.v{version}": "100"})
    return departure(recording.answers, before, world.load.as_there(moved.at)).seconds


def breach(world: World) -> Breach:
    """Pin version 3, without a shadow, and let the world change in mid-ramp."""
    began = world.patch("mdep", MODEL, {"spec": {"model": {"version": "3"}, "shadow": None}})
    world.until("v3 has a share", lambda: world.is_settled_at(10), 90)
    broken_at = time.time()
    world.load.bring_new_category(NEW_CATEGORY)
    world.until("the rollback", lambda: world.status.get("phase") == "RolledBack", 30)
    world.until("all answers are version 2's", lambda: world.all_from("2"))
    return Breach(world.recorded(began), broken_at)


def back_by_hand(world: World) -> ByHand:
    """Pin version 4, and in its ramp do what the guide says for a VirtualService."""
    began = world.pin("4")
    world.until("v4 has a share", lambda: world.is_settled_at(SENT_BACK_AT), 90)
    patched_at = time.time()
    world.kubectl("patch", "virtualservice", FRONT, "--type", "json", "--patch", json.dumps(_all_to(world, "2")))
    world.until("the operator has taken it over", lambda: world.status.get("phase") == "RolledBack", 30)
    world.until("all answers are version 2's", lambda: world.all_from("2"))
    world.keep_looking(QUIET)
    return ByHand(world.recorded(began), patched_at)


def _all_to(world: World, version: str) -> list[dict[str, object]]:
    stored = json.loads(world.kubectl("get", "virtualservice", FRONT, "--output", "json"))["spec"]["http"]
    index, rule = next((index, each) for index, each in enumerate(stored) if each["name"] == ROUTE)
    hosts = [each["destination"]["host"] for each in rule["route"]]
    return [
        {
            "op": "replace",
            "path": f"/spec/http/{index}/route/{n}/weight",
            "value": 100 * (host == f"{MODEL}-v{version}"),
        }
        for n, host in enumerate(hosts)
    ]
