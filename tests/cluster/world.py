"""What the acts act upon and look at: commands, the object and the route as they change, the clients, the metrics."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cluster import CommandError
from cluster.demo.load import Load
from cluster.demo.observed import Answer, between, only
from cluster.demo.watching import Object, Sight, Watch, read_json
from modelramp.adapters.kinds import CONFIG_MAP, MODEL_DEPLOYMENT, POD, VIRTUAL_SERVICE, Kind
from tests.cluster.meter import Count, Meter
from tests.cluster.scene import FRONT, HERE, MESH, MODEL, NAMESPACE, RELEASE, SYSTEM, Scene
from tests.cluster.training import Training

TRAFFIC = f"{MODEL}-traffic"
ROUTE = "fraud"
_LOOK = 0.1  # seconds between two looks


class NotSeenError(AssertionError):
    """Say what should have come about, and how things stood instead."""


@dataclass(frozen=True)
class Recording:
    """All that was seen in a span of time, by this machine's clock; `answers` carry the load generator's."""

    begin: float
    end: float
    statuses: Sequence[Sight]
    routes: Sequence[Sight]
    counts: Sequence[Count]
    answers: Sequence[Answer]

    @property
    def failed(self) -> list[Answer]:
        """Return the requests that did not get what they asked for."""
        return [answer for answer in self.answers if answer.failed]

    @property
    def splits(self) -> list[dict[str, str]]:
        """Return every split that was stored, the one before it first, without zeros and without doubles."""
        found: list[dict[str, str]] = []
        for sight in self.routes:
            split = split_of(sight.object)
            if not found or found[-1] != split:
                found.append(split)
        return found

    @property
    def status(self) -> Object:
        """Return the status at the end."""
        status: Object = self.statuses[-1].object.get("status") or {}
        return status


@dataclass(frozen=True)
class Place:
    """Where an object called `MODEL` is, its manifest, and what has its split."""

    namespace: str
    manifest: Path
    kind: Kind
    route: str


ROUTER = Place(NAMESPACE, HERE / "modeldeployment.yaml", CONFIG_MAP, TRAFFIC)
MESHED = Place(MESH, HERE / "mesh" / "modeldeployment.yaml", VIRTUAL_SERVICE, FRONT)


def split_of(route: Object) -> dict[str, str]:
    """Return the numbers of a ConfigMap's or VirtualService's route that are not zero."""
    data = route.get("data") or (_numbers(rule_of(route)) if "spec" in route else {})
    return {key: value for key, value in data.items() if not key.endswith(".yaml") and value != "0"}


def rule_of(virtual_service: Object) -> Object:
    """Return the one route of a VirtualService that the operator writes to."""
    found: Object = next(each for each in virtual_service["spec"]["http"] if each["name"] == ROUTE)
    return found


def _numbers(rule: Object) -> dict[str, str]:
    found = {f"weight.{_version(each['destination'])}": str(each.get("weight", 0)) for each in rule["route"]}
    if mirror := rule.get("mirror"):
        found[f"mirror.{_version(mirror)}"] = f"{rule['mirrorPercentage']['value']:g}"
    return found


def _version(destination: Object) -> str:
    return str(destination["host"]).removeprefix(f"{MODEL}-")


class World:
    """The scene, watched."""

    def __init__(self, scene: Scene, place: Place = ROUTER) -> None:
        """Take the scene; nothing is watched before `watched`."""
        self.scene, self.place, self.training = scene, place, Training(scene)
        self.rest: Future[dict[str, Any]] | None = None
        self.load = Load(scene.service("load", 8080, place.namespace))
        self._rollouts = Watch(self._url(MODEL_DEPLOYMENT))
        self._routes = Watch(self._url(place.kind), f"metadata.name={place.route}")
        self._meter = Meter(self._url(POD))

    def _url(self, kind: Kind) -> str:
        return f"{self.scene.api}{kind.path(self.place.namespace)}"

    @contextlib.contextmanager
    def watched(self) -> Iterator[World]:
        """Watch while the block runs."""
        self._rollouts.start()
        self._routes.start()
        self._meter.start()
        try:
            yield self
        finally:
            self.training.stop()
            self._rollouts.stop()
            self._routes.stop()
            self._meter.stop()

    # ------------------------------------------------------------------ acting
    def kubectl(self, *arguments: str, namespace: str = "") -> str:
        """Run kubectl in a namespace, the object's unless another is named. Raises CommandError."""
        return self.scene.cluster.kubectl("--namespace", namespace or self.place.namespace, *arguments)

    def patch(self, kind: str, name: str, patch: Object) -> float:
        """Merge a patch into an object; return when the command began."""
        began = time.time()
        self.kubectl("patch", kind, name, "--type", "merge", "--patch", json.dumps(patch))
        return began

    def pin(self, version: str, **serving: str) -> float:
        """Pin a version; return when the command began."""
        return self.patch("mdep", MODEL, {"spec": {"model": {"version": version}, "serving": serving}})

    def predict(self, rows: Sequence[Sequence[float]]) -> tuple[str, list[list[float]]]:
        """Ask the router's Service for scores; return the version that answered, and what. Raises OSError."""
        body = json.dumps({"inputs": rows}).encode()
        url, headers = f"{self.scene.service(MODEL, 80)}/invocations", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return answer.headers["X-Model-Version"], json.load(answer)["predictions"]

    # ------------------------------------------------------------------ seeing
    @property
    def status(self) -> Object:
        """Return the object's status as it is now."""
        found: Object = self._rollouts.newest(MODEL).get("status") or {}
        return found

    @property
    def split(self) -> dict[str, str]:
        """Return the stored split as it is now."""
        return split_of(self._routes.newest(self.place.route))

    @property
    def attempt(self) -> Object:
        """Return the newest attempt."""
        found: Object = self.status.get("attempt") or {}
        return found

    def recorded(self, begin: float) -> Recording:
        """Return all that was seen since a moment of this machine's clock."""
        self.look()
        end = time.time()
        statuses, routes = self._rollouts.since(begin), self._routes.since(begin)
        counts = self._meter.between(begin, end)
        return Recording(begin, end, statuses, routes, counts, between(self.load.answers, self.load.as_there(begin)))

    def ask(self, promql: str) -> float | None:
        """Ask the cluster's Prometheus for one number, None where it has none."""
        url = f"{self.scene.service('prometheus', 9090)}/api/v1/query?query={quote(promql, safe='')}"
        result = read_json(url)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def get(self, path: str) -> Any:
        """Read from the API, None where nothing is."""
        try:
            return read_json(f"{self.scene.api}{path}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def pods(self, selector: str = "", namespace: str = "") -> list[Object]:
        """Return the pods, those that are ending included."""
        path = f"{POD.path(namespace or self.place.namespace)}?labelSelector={quote(selector)}"
        found: list[Object] = self.get(path)["items"]
        return found

    def model_pods(self, version: str) -> list[Object]:
        """Return a version's pods."""
        return self.pods(f"modelramp.dev/component=model,modelramp.dev/version={version}")

    def leader(self) -> str:
        """Return the name of the operator's pod that leads."""
        lease = self.get(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{RELEASE}")
        place = str(lease["spec"].get("holderIdentity") or "").rpartition("_")[0]  # the pod's name and its uid
        return place.rpartition(".")[0]

    # ------------------------------------------------------------------ waiting
    def look(self) -> None:
        """Take in what the clients saw."""
        with contextlib.suppress(OSError):
            self.load.fetch()

    def until(self, what: str, true: Callable[[], object], within: float = 60.0) -> None:
        """Look until something is true. Raises NotSeenError when it is not in time."""
        deadline = time.monotonic() + within
        while not true():
            if time.monotonic() > deadline:
                raise NotSeenError(f"not within {within:.0f} s: {what}\n{self._standing()}")
            self.look()
            time.sleep(_LOOK)
        self.look()

    def keep_looking(self, seconds: float) -> None:
        """Look for a while: what goes on would show."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(_LOOK)

    def is_promoted(self, version: str) -> bool:
        """Tell whether a version is stable and nothing else is under way."""
        stable = (self.status.get("stable") or {}).get("version")
        return bool(self.status.get("phase") == "Promoted" and stable == version)

    def is_settled_at(self, weight: int) -> bool:
        """Tell whether the ramp is at a step, and the routers are."""
        return (
            self.status.get("phase") == "Ramping"
            and self.status.get("weight") == weight
            and "settledAt" in self.attempt
        )

    def all_from(self, version: str, for_seconds: float = 1.0) -> bool:
        """Tell whether all recent answers are one version's."""
        return only(between(self.load.answers[-1000:], self.load.as_there(time.time()) - for_seconds), version)

    def _standing(self) -> str:
        status, said = self.status, []
        said.append(f"{status.get('phase')} {status.get('step', '')}, {status.get('reason')}: {status.get('message')}")
        said.append(f"split {self.split}, {len(self.load.answers)} answers")
        with contextlib.suppress(CommandError):
            said.append(self.kubectl("get", "pods", "--output=wide"))
            said.append(self.kubectl("get", "pods", namespace=SYSTEM))
            said.append(self.kubectl("logs", f"deployment/{RELEASE}", "--tail=15", "--all-pods=true", namespace=SYSTEM))
        return "\n".join(said)
