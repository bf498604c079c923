"""What the acts are played on: commands, looks at the object and the clients, waiting, checking."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from cluster.demo.claims import Claims
from cluster.demo.load import Load
from cluster.demo.names import MODEL, NAMESPACE, RELEASE, SYSTEM, TRAFFIC
from cluster.demo.observed import Answer, between, percents
from cluster.demo.screen import Picture, Screen
from cluster.demo.setting import Setting
from cluster.demo.summary import Act, Way
from cluster.demo.watching import Object, Sight, Watch, read_json
from cluster.errors import ClusterError, CommandError
from cluster.settings import REPOSITORY

_LOOK = 0.2  # seconds between two looks
_SHOWN = 3.0  # seconds whose answers are the observed share
_KUBECTL = "kubectl", "--namespace", NAMESPACE


class NotSeenError(ClusterError):
    """Say what should have come about, and how things stood instead."""


class Stage:
    """Everything that an act needs."""

    def __init__(self, setting: Setting, screen: Screen) -> None:
        """Take the scene; nothing is watched before `open`."""
        self.setting, self.screen = setting, screen
        self.claims, self.acts, self.ways = Claims(), list[Act](), list[Way]()
        self._trained: list[str] = []
        self.load = Load(setting.service("load", 8080))
        root = f"{setting.api}/apis/modelramp.dev/v1alpha1/namespaces/{NAMESPACE}/modeldeployments"
        self._rollouts = Watch(root)
        self._routes = Watch(f"{setting.api}/api/v1/namespaces/{NAMESPACE}/configmaps", f"metadata.name={TRAFFIC}")
        self._events = Watch(f"{setting.api}/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events")

    @contextlib.contextmanager
    def open(self) -> Iterator["Stage"]:
        """Watch while the block runs."""
        watches = self._rollouts, self._routes, self._events
        for watch in watches:
            watch.start()
        try:
            yield self
        finally:
            for watch in watches:
                watch.stop()

    @contextlib.contextmanager
    def act(self, title: str, story: str) -> Iterator[None]:
        """Play an act."""
        self.screen.act(title, story)
        began = self.load.now()
        yield
        self.look()
        self.acts.append(Act(title, began, self.load.now()))

    def kubectl(self, *arguments: str) -> None:
        """Run a command that is part of the story, and show it. Raises CommandError."""
        self.command(*_KUBECTL, *arguments)

    def scale_operator(self, replicas: int) -> None:
        """Scale the operator, and show it. Raises CommandError."""
        self.command("kubectl", "-n", SYSTEM, "scale", f"deployment/{RELEASE}", f"--replicas={replicas}")

    def command(self, *words: str) -> None:
        """Run and show. Raises CommandError."""
        shown = ["-n" if word == "--namespace" else word for word in words]
        self.screen.command(shown)
        environment = self.setting.cluster.environment()
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        if done.returncode:
            raise CommandError(" ".join(shown), done.returncode, done.stderr)
        self.screen.line(done.stdout.rstrip())

    def pin(self, version: str) -> None:
        """Pin a version."""
        patch = f'{{"spec":{{"model":{{"version":"{version}"}}}}}}'
        self.kubectl("patch", "mdep", MODEL, "--type", "merge", "--patch", patch)

    def await_registered(self, version: str) -> None:
        """Wait until the registry has a version, and say what was trained."""
        training, told = self.setting.training, len(self._trained)
        self.until(f"version {version} is registered", lambda: training.has_registered(version), 180)
        for line in training.said[told:]:
            self.screen.line(f"  trained {line}")
        self._trained = training.said

    def check(self, says: str, holds: bool, seen: str = "") -> None:
        """Add a claim, and show it."""
        self.screen.claim(self.claims.check(says, holds, seen))

    # ------------------------------------------------------------------ seeing
    @property
    def status(self) -> Object:
        """Return the object's status as it is now."""
        found: Object = self._rollouts.newest(MODEL).get("status") or {}
        return found

    def statuses(self, since: float) -> list[Sight]:
        """Return every status since a moment of this machine's clock, and the one before it."""
        return [Sight(sight.at, sight.object.get("status") or {}) for sight in self._rollouts.since(since)]

    def routes(self, since: float) -> list[dict[str, str]]:
        """Return every split that was stored since a moment, and the one before it: weights and copies, no doubles."""
        found: list[dict[str, str]] = []
        for sight in self._routes.since(since):
            data = sight.object.get("data") or {}
            split = {key: value for key, value in data.items() if not key.endswith(".yaml") and value != "0"}
            if not found or found[-1] != split:
                found.append(split)
        return found

    def told(self) -> list[str]:
        """Return the Events about the ModelDeployment, oldest first."""
        ours = [each for each in self._events.all() if (each.get("regarding") or {}).get("kind") == "ModelDeployment"]
        ours.sort(key=lambda event: event.get("eventTime") or "")
        return [f"{event['reason']}: {event.get('note', '')}" for event in ours]

    def answers(self, since: float) -> list[Answer]:
        """Return the clients' answers since a moment of the load generator's clock."""
        return between(self.load.answers, since)

    def ask(self, promql: str) -> float | None:
        """Ask the cluster's Prometheus for one number, None where it has none."""
        url = f"{self.setting.service('prometheus', 9090)}/api/v1/query?query={quote(promql, safe='')}"
        result = read_json(url)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def operators(self) -> int:
        """Return how many operator pods there are, those that are ending included."""
        return len(read_json(f"{self.setting.api}/api/v1/namespaces/{SYSTEM}/pods")["items"])

    # ------------------------------------------------------------------ waiting
    def look(self) -> None:
        """Take in what the clients saw, and show how things stand."""
        with contextlib.suppress(OSError):
            self.load.fetch()
        self.screen.show(self._picture())

    def until(self, what: str, true: Callable[[], object], within: float = 60.0) -> None:
        """Look until something is true. Raises NotSeenError when it is not in time."""
        deadline = time.monotonic() + within
        while not true():
            if time.monotonic() > deadline:
                raise NotSeenError(f"not within {within:.0f} s: {what}\nthe object says: {self._standing()}")
            self.look()
            time.sleep(_LOOK)
        self.look()

    def keep_looking(self, seconds: float) -> None:
        """Look for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(_LOOK)

    def is_promoted(self, version: str) -> bool:
        """Tell whether a version is stable and nothing else is under way."""
        stable = (self.status.get("stable") or {}).get("version")
        return bool(self.status.get("phase") == "Promoted" and stable == version)

    def all_from(self, version: str, for_seconds: float = 1.5) -> bool:
        """Tell whether all recent answers are one version's."""
        recent = self.answers(self.load.as_there(time.time()) - for_seconds)
        return bool(recent) and all(answer.version == version for answer in recent)

    def _standing(self) -> str:
        status = self.status
        return f"{status.get('phase')} {status.get('step', '')}, {status.get('reason')}: {status.get('message')}"

    def _picture(self) -> Picture:
        status, now = self.status, self.load.as_there(time.time())
        recent = between(self.load.answers[-2000:], now - _SHOWN)
        return Picture(
            phase=status.get("phase", ""),
            step=status.get("step", ""),
            stable=(status.get("stable") or {}).get("version", ""),
            candidate=(status.get("candidate") or {}).get("version", ""),
            weight=status.get("weight", 0),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            shares=percents(recent),
            per_second=len(recent) / _SHOWN,
            sent=len(self.load.answers),
            failed=sum(answer.failed for answer in self.load.answers),
            verdicts={each["name"]: each["verdict"] for each in status.get("guardrails") or ()},
            events=self.told(),
        )
