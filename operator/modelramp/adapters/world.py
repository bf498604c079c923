"""A scripted cluster on a fake clock: what happens in it is written down beforehand, or done to it by hand.

A day passes in one call of `advance`. Ports on it are in `memory`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from modelramp.ports import Ref
from modelramp.rollout.actions import Event, RunRehearsal
from modelramp.rollout.observation import Busy, Failed, ModelVersion, Reading, Rehearsal, Replay, Split, Value
from modelramp.rollout.rulebook import PromotionPolicy
from modelramp.rollout.spec import Serving, Spec
from modelramp.rollout.status import Record, Status

BEGINNING = datetime(2026, 1, 5, 9, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Question:
    """One guardrail query as the world sees it: about which version, which has how much traffic, when."""

    promql: str
    version: str
    weight: int
    at: datetime


Script = Callable[[Question], Reading[float]]


def flawless(wanted: RunRehearsal) -> Rehearsal:
    """Answer every replayed request, quickly."""
    asked = wanted.gate.requests if wanted.gate else 0
    fast = Replay(asked, 0.005, 0.009, 0.012, 150 * 2**20) if wanted.gate else None
    return Rehearsal(fast, Replay(1, 0.005, 0.005, 0.005) if wanted.fallback else None)


def quiet(_question: Question) -> Reading[float]:
    """Answer 0 to everything: no errors, no latency."""
    return Value(0.0)


@dataclass(slots=True)
class StoredObject:
    """A ModelDeployment in the world; every write moves `version`."""

    spec: Spec
    uid: str
    status: Status = field(default_factory=Status)
    generation: int = 1
    version: int = 1
    deleting_since: datetime | None = None
    claimed: bool = False
    managers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class StoredWorkload:
    """One version's pods."""

    serving: Serving
    started_at: datetime


@dataclass(slots=True)
class StoredRehearsal:
    """A rehearsal that was begun."""

    wanted: RunRehearsal
    started_at: datetime


@dataclass(slots=True)
class StoredPolicy:
    """The text of a policy: its hash, why it is none, what the pods have against it once they were told."""

    hash: str
    problem: str = ""
    refused: str = ""
    told: bool = False


@dataclass(slots=True)
class StoredRoute:
    """A route, and what its proxies make of it; `pending` is what they have yet to take up."""

    split: Split | None = None
    written: Split | None = None
    stable: str = ""
    backends: frozenset[str] = frozenset()
    author: str = ""
    why: str = ""
    malformed: str = ""
    epoch: int = 0
    version: int = 1
    in_effect: Split | None = None
    pending: tuple[datetime, Split] | None = None
    requests: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(slots=True)
class World:
    """Everything outside the operator.

    `ready_after` is how long a version's pods take, None for never; `effect_after` how long proxies take to follow;
    `requests_per_second` what callers send to each object. `rehearse` is what comes of a rehearsal, `rehearsed_after`
    how long one takes, None for ever. `away` names what does not answer: "api", "registry", "floors", "metrics",
    "proxies", "jobs", and what takes no write: "routes", "status". `before_write` is called with each write's name;
    raise in it to end the process there.
    """

    now: datetime = BEGINNING
    ready_after: Callable[[str], timedelta | None] = lambda _version: timedelta(seconds=20)
    effect_after: timedelta = timedelta(milliseconds=500)
    requests_per_second: float = 100.0
    rehearse: Callable[[RunRehearsal], Rehearsal] = flawless
    rehearsed_after: timedelta | None = timedelta(seconds=20)
    measure: Script = quiet
    away: set[str] = field(default_factory=set)
    before_write: Callable[[str], None] = lambda _name: None
    models: dict[tuple[str, str], Reading[ModelVersion] | Busy] = field(default_factory=dict)
    objects: dict[Ref, StoredObject] = field(default_factory=dict)
    workloads: dict[Ref, dict[str, StoredWorkload]] = field(default_factory=dict)
    policies: dict[str, StoredPolicy] = field(default_factory=dict)
    kept_policies: dict[Ref, str] = field(default_factory=dict)
    rehearsals: dict[Ref, dict[str, StoredRehearsal]] = field(default_factory=dict)
    routes: dict[Ref, StoredRoute] = field(default_factory=dict)
    records: dict[Ref, dict[str, Record]] = field(default_factory=dict)
    aliases: dict[Ref, tuple[str, str]] = field(default_factory=dict)
    floors: tuple[PromotionPolicy, ...] = ()
    events: list[tuple[datetime, Ref, Event]] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)

    # ------------------------------------------------------------------ what people do
    def register(self, model: ModelVersion) -> None:
        """Put a version into the registry."""
        self.models[model.name, model.version] = Value(model)

    def create(self, ref: Ref, spec: Spec) -> None:
        """Create a ModelDeployment."""
        self.objects[ref] = StoredObject(spec, uid=f"{ref}#{len(self.objects)}")

    def edit(self, ref: Ref, spec: Spec) -> None:
        """Change a spec."""
        found = self.objects[ref]
        found.spec, found.generation, found.version = spec, found.generation + 1, found.version + 1

    def delete(self, ref: Ref) -> None:
        """Delete a ModelDeployment; it stays while our finalizer is on."""
        found = self.objects[ref]
        found.deleting_since, found.version = found.deleting_since or self.now, found.version + 1
        self.let_go(ref)

    def let_go(self, ref: Ref) -> None:
        """Remove an object that is deleted and that nobody holds; what it owned goes with it."""
        found = self.objects[ref]
        if found.deleting_since is not None and not found.claimed:
            for held in (self.objects, self.workloads, self.rehearsals, self.routes):
                held.pop(ref, None)

    def shift_by_hand(self, ref: Ref, weights: Mapping[str, int], author: str = "kubectl-patch") -> None:
        """Change the route's numbers as `kubectl patch configmap` does; `weights` names every version."""
        route = self.routes[ref]
        route.author, route.version = f"{author} at {self.now:%Y-%m-%dT%H:%M:%SZ}", route.version + 1
        if sum(weights.values()) != 100:
            route.split, route.malformed = None, f"the weights must add up to 100, not {sum(weights.values())}"
            return
        mirror = route.split.mirror if route.split else {}
        route.split, route.malformed = Split(dict(weights), mirror), ""
        self.follow(route)

    # ------------------------------------------------------------------ what happens by itself
    def advance(self, time: timedelta) -> None:
        """Let time pass: proxies follow their routes, callers send requests."""
        until = self.now + time
        for route in self.routes.values():
            for seconds, split in self._stretches(route, until):
                _count(route, split, seconds * self.requests_per_second)
            self._take_up(route, until)
        self.now = until

    def follow(self, route: StoredRoute) -> None:
        """Have the proxies take up what is stored, after their delay."""
        self._take_up(route, self.now)
        if route.split is not None:
            route.pending = (self.now + self.effect_after, route.split)

    def effect(self, route: StoredRoute) -> Split | None:
        """Return what the proxies do now."""
        self._take_up(route, self.now)
        return route.in_effect

    def ready(self, workload: StoredWorkload, version: str) -> int:
        """Return how many pods of a version are ready now."""
        delay = self.ready_after(version)
        is_up = delay is not None and self.now - workload.started_at >= delay
        return workload.serving.pods if is_up else 0

    def reach(self, what: str) -> Failed | None:
        """Return why a thing does not answer, None when it does."""
        return Failed("Unreachable", f"{what} does not answer") if what in self.away else None

    def write(self, name: str) -> None:
        """Note a write; whoever listens may end the process instead."""
        self.before_write(name)
        self.writes.append(name)

    def _stretches(self, route: StoredRoute, until: datetime) -> Iterator[tuple[float, Split | None]]:
        since, split = self.now, route.in_effect
        if route.pending and route.pending[0] < until:
            at = max(route.pending[0], since)
            yield (at - since).total_seconds(), split
            since, split = at, route.pending[1]
        yield (until - since).total_seconds(), split

    @staticmethod
    def _take_up(route: StoredRoute, now: datetime) -> None:
        if route.pending and route.pending[0] <= now:
            route.in_effect, route.pending = route.pending[1], None


def _count(route: StoredRoute, split: Split | None, requests: float) -> None:
    if split is None:
        return
    for shares in (split.weights, split.mirror):
        for version, percent in shares.items():
            route.requests[version] += requests * percent / 100
