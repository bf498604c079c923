"""Every port in memory, on a scripted world: for scenarios and for tests of the loop."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from modelramp.adapters.memory_floors import MemoryFloors
from modelramp.adapters.memory_journal import MemoryJournal
from modelramp.adapters.memory_pins import MemoryPins
from modelramp.adapters.memory_policies import MemoryPolicies
from modelramp.adapters.memory_rehearsals import MemoryRehearsals
from modelramp.adapters.world import Question, StoredRoute, StoredWorkload, World
from modelramp.lease import AlwaysHeld, Lease
from modelramp.ports import Conflict, Deposed, Done, Ports, Ref, Rollout, Written
from modelramp.rollout.actions import Event, SetTraffic
from modelramp.rollout.observation import (
    Busy,
    Effect,
    Failed,
    ModelVersion,
    NoData,
    Reading,
    Route,
    Value,
    Workload,
)
from modelramp.rollout.status import Pin, Status

_VERSION = re.compile(r'-v(?P<backend>\d+)"|version="(?P<label>[^"]+)"')
_NAME = re.compile(r'"(?P<namespace>[^"_]+)_(?P<name>[^"_]+)-v\d+"')


def ports_on(world: World, lease: Lease | None = None) -> Ports:
    """Return every port on one world, as one operator process has them."""
    held = lease or AlwaysHeld()
    return Ports(
        objects=MemoryObjects(world, held),
        workloads=MemoryWorkloads(world, held),
        rehearsals=MemoryRehearsals(world, held),
        policies=MemoryPolicies(world, held),
        traffic=MemoryTraffic(world, held),
        registry=MemoryRegistry(world),
        pins=MemoryPins(world),
        journal=MemoryJournal(world),
        floors=MemoryFloors(world),
        metrics=MemoryMetrics(world),
        events=MemoryEvents(world),
        clock=MemoryClock(world),
    )


class MemoryClock:
    """The world's clock."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        """Return the world's present."""
        return self._world.now


class MemoryObjects:
    """ModelDeployments with an API server's manners: a version for each write, and who comes late has to read again."""

    def __init__(self, world: World, lease: Lease) -> None:
        self._world = world
        self._lease = lease

    async def read(self, ref: Ref) -> Reading[Rollout]:
        """Read an object."""
        if failed := self._world.reach("api"):
            return failed
        found = self._world.objects.get(ref)
        if found is None:
            return NoData("Gone", f"there is no ModelDeployment {ref}")
        return Value(
            Rollout(
                ref=ref,
                uid=found.uid,
                generation=found.generation,
                resource_version=str(found.version),
                spec=found.spec,
                status=found.status,
                deleting=found.deleting_since is not None,
                deleting_since=found.deleting_since,
                claimed=found.claimed,
                managers=found.managers,
            )
        )

    async def remember(self, rollout: Rollout, status: Status) -> Written:
        """Write the status if nobody wrote since."""
        if refused := _refused(self._world, self._lease) or self._world.reach("status"):
            return refused
        found = self._world.objects.get(rollout.ref)
        if found is None or str(found.version) != rollout.resource_version:
            return Conflict("the object has been modified")
        self._world.write(f"remember {status.phase.value}")
        found.status, found.version = status, found.version + 1
        return Done()

    async def claim(self, rollout: Rollout) -> Written:
        """Put our finalizer on."""
        return self._hold(rollout, claimed=True)

    async def release(self, rollout: Rollout) -> Written:
        """Take our finalizer off."""
        return self._hold(rollout, claimed=False)

    def _hold(self, rollout: Rollout, *, claimed: bool) -> Written:
        if refused := _refused(self._world, self._lease):
            return refused
        found = self._world.objects.get(rollout.ref)
        if found is None or found.uid != rollout.uid:
            return Conflict("the object is gone") if claimed else Done()
        if found.claimed != claimed:
            self._world.write("claim" if claimed else "release")
            found.claimed, found.version = claimed, found.version + 1
            self._world.let_go(rollout.ref)
        return Done()


class MemoryWorkloads:
    """Pods that get ready by the script."""

    def __init__(self, world: World, lease: Lease) -> None:
        self._world = world
        self._lease = lease

    async def read(self, rollout: Rollout) -> Reading[Mapping[str, Workload]]:
        """Read every version's pods."""
        if failed := self._world.reach("api"):
            return failed
        found = self._world.workloads.get(rollout.ref, {})
        return Value({version: self._workload(rollout, version, each) for version, each in found.items()})

    async def run(self, rollout: Rollout, pin: Pin) -> Written:
        """Start a version, or start it anew when the spec asks for other pods."""
        if refused := _refused(self._world, self._lease):
            return refused
        running = self._world.workloads.setdefault(rollout.ref, {})
        known = running.get(pin.version)
        if known is None or known.serving != rollout.spec.serving:
            self._world.write(f"run v{pin.version}")
            running[pin.version] = StoredWorkload(rollout.spec.serving, self._world.now)
        return Done()

    async def stop(self, rollout: Rollout, version: str) -> Written:
        """Stop a version."""
        if refused := _refused(self._world, self._lease):
            return refused
        if version in self._world.workloads.get(rollout.ref, {}):
            self._world.write(f"stop v{version}")
            del self._world.workloads[rollout.ref][version]
        return Done()

    def _workload(self, rollout: Rollout, version: str, found: StoredWorkload) -> Workload:
        serving, ready = rollout.spec.serving, self._world.ready(found, version)
        current = found.serving == serving
        return Workload(version, serving.pods, ready, current, "" if ready else "starting")


class MemoryTraffic:
    """A route that people edit too, and proxies that follow it after their delay."""

    def __init__(self, world: World, lease: Lease) -> None:
        self._world = world
        self._lease = lease
        self._seen: dict[Ref, int] = {}

    async def read(self, rollout: Rollout) -> Reading[Route]:
        """Read the stored split."""
        if failed := self._world.reach("api"):
            return failed
        route = self._world.routes.get(rollout.ref)
        if route is None:
            return NoData("NoRoute", f"there is no route for {rollout.ref} yet")
        self._seen[rollout.ref] = route.version
        late = rollout.status.candidate is not None and route.epoch < self._lease.epoch
        author, why = route.author, route.why
        return Value(Route(route.split, route.written, route.backends, author, why, not late, route.malformed))

    async def measure(self, rollout: Rollout) -> Reading[Effect]:
        """Ask the proxies."""
        if failed := self._world.reach("proxies"):
            return failed
        route = self._world.routes.get(rollout.ref)
        if route is None:
            return Failed("NoRouter", "no router pod is ready")
        requests = {version: int(count) for version, count in route.requests.items()}
        return Value(Effect(self._world.effect(route), requests))

    async def write(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        """Store the split; a retreat whatever else was written, anything else only on what was read last."""
        if refused := _refused(self._world, self._lease) or self._world.reach("routes"):
            return refused
        if sum(wanted.split.weights.values()) != 100:
            raise ValueError(f"split: {dict(wanted.split.weights)} must add up to 100")
        route = self._world.routes.get(rollout.ref)
        if route is not None and route.epoch > self._lease.epoch:
            return Deposed()
        if route is not None and not wanted.retreat and route.version != self._seen.get(rollout.ref):
            self._seen[rollout.ref] = route.version
            return Conflict("the route has been modified")
        self._store(rollout.ref, route or StoredRoute(), wanted)
        return Done()

    def _store(self, ref: Ref, route: StoredRoute, wanted: SetTraffic) -> None:
        known = (route.split, route.written, route.stable, route.backends, route.epoch, route.malformed)
        asked = (wanted.split, wanted.split, wanted.stable, frozenset(wanted.backends), self._lease.epoch, "")
        if known != asked:
            self._world.write(f"route {_said(wanted)}")
            route.split, route.written, route.stable, route.backends, route.epoch, route.malformed = asked
            route.author, route.why, route.version = "modelramp", wanted.why, route.version + 1
            self._world.routes[ref] = route
            self._world.follow(route)
        self._seen[ref] = route.version


class MemoryRegistry:
    """The world's registry."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def resolve(self, name: str, version: str) -> Reading[ModelVersion] | Busy:
        """Resolve a version."""
        if failed := self._world.reach("registry"):
            return failed
        missing = NoData("VersionNotFound", f"model {name} has no version {version}")
        return self._world.models.get((name, version), missing)

    async def inspect(self, name: str, version: str) -> Reading[ModelVersion] | Busy:
        """Read a version."""
        return await self.resolve(name, version)


class MemoryMetrics:
    """The world's script, asked about the version that a query names."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def query(self, promql: str) -> Reading[float]:
        """Answer by the script."""
        if failed := self._world.reach("metrics"):
            return failed
        found = _VERSION.search(promql)
        version = (found["backend"] or found["label"]) if found else ""
        return self._world.measure(Question(promql, version, self._weight(promql, version), self._world.now))

    def _weight(self, promql: str, version: str) -> int:
        named = _NAME.search(promql)
        refs = [Ref(named["namespace"], named["name"])] if named else list(self._world.routes)
        route = self._world.routes.get(refs[0]) if refs else None
        split = self._world.effect(route) if route else None
        return split.weight(version) if split else 0


class MemoryEvents:
    """Events as the world heard them."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def emit(self, rollout: Rollout, events: Sequence[Event]) -> None:
        """Write the events down."""
        self._world.events += [(self._world.now, rollout.ref, event) for event in events]


def _refused(world: World, lease: Lease) -> Written | None:
    return world.reach("api") if lease.held() else Deposed()


def _said(wanted: SetTraffic) -> str:
    shares = {version: percent for version, percent in sorted(wanted.split.weights.items()) if percent}
    mirror = {version: percent for version, percent in sorted(wanted.split.mirror.items()) if percent}
    live = " ".join(f"v{version}={percent}" for version, percent in shares.items())
    return live + "".join(f" mirror.v{version}={percent}" for version, percent in mirror.items())
