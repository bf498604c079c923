"""Two worlds that the same contracts are checked on: one in memory, one on a real API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Protocol

from modelramp.adapters.kinds import CONFIG_MAP, MODEL_DEPLOYMENT, Kind
from modelramp.adapters.memory import MemoryObjects, MemoryTraffic
from modelramp.adapters.world import World
from modelramp.ports import Objects, Ref, Rollout, Traffic
from modelramp.rollout.observation import Value
from modelramp.rollout.spec import Spec
from tests.adapters.real import Process, RealCluster, Term
from tests.adapters.routes import host_of, load_example, rule_of

NAME = "fraud-detector"


class Member(Protocol):
    """One operator process."""

    @property
    def lease(self) -> Term: ...
    @property
    def objects(self) -> Objects: ...
    @property
    def traffic(self) -> Traffic: ...


class Bench(Protocol):
    """A world with one ModelDeployment in it."""

    relative: bool
    """Weights that do not add up to 100 are shares of what they add up to."""

    async def begin(self) -> Ref:
        """Create the object."""
        ...

    def member(self, epoch: int) -> Member:
        """Start an operator process."""
        ...

    async def shift_by_hand(self, ref: Ref, weights: Mapping[str, int]) -> None:
        """Change the route's numbers by hand."""
        ...

    async def edit(self, ref: Ref) -> None:
        """Change the object's spec: pause it."""
        ...

    async def delete(self, ref: Ref) -> None:
        """Delete the object."""
        ...

    async def catch_up(self, member: Member, ref: Ref) -> None:
        """Let the process's watches bring what has happened."""
        ...

    async def writes(self, ref: Ref) -> object:
        """Return something that every write to the route or the object changes."""
        ...


@dataclass
class MemoryMember:
    lease: Term
    objects: MemoryObjects
    traffic: MemoryTraffic


@dataclass
class MemoryBench:
    """The scripted world."""

    world: World = field(default_factory=World)
    relative = False

    async def begin(self) -> Ref:
        ref = Ref("default", NAME)
        self.world.create(ref, Spec("fraud_detector", "8"))
        return ref

    def member(self, epoch: int) -> MemoryMember:
        term = Term(epoch)
        return MemoryMember(term, MemoryObjects(self.world, term), MemoryTraffic(self.world, term))

    async def shift_by_hand(self, ref: Ref, weights: Mapping[str, int]) -> None:
        self.world.shift_by_hand(ref, weights)

    async def edit(self, ref: Ref) -> None:
        self.world.edit(ref, replace(self.world.objects[ref].spec, paused=True))

    async def delete(self, ref: Ref) -> None:
        self.world.delete(ref)

    async def catch_up(self, member: Member, ref: Ref) -> None:
        self.world.advance(timedelta(seconds=1))

    async def writes(self, ref: Ref) -> object:
        route, obj = self.world.routes.get(ref), self.world.objects.get(ref)
        return route and route.version, obj and obj.version


@dataclass
class RealBench:
    """A namespace of a real API server."""

    real: RealCluster
    relative = False

    async def begin(self) -> Ref:
        return await self.real.create_model(NAME)

    def member(self, epoch: int) -> Process:
        return self.real.process(epoch)

    async def shift_by_hand(self, ref: Ref, weights: Mapping[str, int]) -> None:
        await self.real.edit_numbers(ref.name, {f"weight.v{version}": str(n) for version, n in weights.items()})

    async def edit(self, ref: Ref) -> None:
        await self.real.merge(MODEL_DEPLOYMENT, ref.name, {"spec": {"paused": True}})

    async def delete(self, ref: Ref) -> None:
        await self.real.request("DELETE", MODEL_DEPLOYMENT.path(ref.namespace, ref.name))

    async def catch_up(self, member: Member, ref: Ref) -> None:
        assert isinstance(member, Process)
        await member.writer.refresh(CONFIG_MAP, ref.namespace, f"{ref.name}-traffic")
        await member.writer.refresh(MODEL_DEPLOYMENT, ref.namespace, ref.name)

    async def writes(self, ref: Ref) -> object:
        found = (
            await self.real.get(CONFIG_MAP, f"{ref.name}-traffic"),
            await self.real.get(MODEL_DEPLOYMENT, ref.name),
        )
        return [each and each["metadata"]["resourceVersion"] for each in found]


@dataclass
class SteeredBench(RealBench):
    """The same, with an object of a mesh or a gateway: `traffic` is the spec's, `theirs` the user's own object."""

    traffic: Mapping[str, Any]
    kind: Kind
    name: str
    theirs: Any = None
    relative = True

    async def begin(self) -> Ref:
        if self.theirs:
            await self.real.request("POST", self.kind.path(self.real.namespace), self.theirs)
        return await self.real.create_model(NAME, traffic=self.traffic)

    async def shift_by_hand(self, ref: Ref, weights: Mapping[str, int]) -> None:
        index, rule = rule_of(self.kind, await self.real.get(self.kind, self.name))
        rules = "http" if "backendRefs" not in rule else "rules"
        field_name = next(each for each in ("route", "backendRefs", "backends") if each in rule)
        versions = [host_of(each) for each in rule[field_name]]
        patch = [
            {
                "op": "add",
                "path": f"/spec/{rules}/{index}/{field_name}/{versions.index(f'{ref.name}-v{version}')}/weight",
                "value": weight,
            }
            for version, weight in weights.items()
        ]
        path, kind = self.kind.path(ref.namespace, self.name), "application/json-patch+json"
        await self.real.request("PATCH", path, patch, kind=kind, manager="kubectl-patch")

    async def catch_up(self, member: Member, ref: Ref) -> None:
        assert isinstance(member, Process)
        await member.writer.refresh(self.kind, ref.namespace, self.name)
        await member.writer.refresh(MODEL_DEPLOYMENT, ref.namespace, ref.name)

    async def writes(self, ref: Ref) -> object:
        found = await self.real.get(self.kind, self.name), await self.real.get(MODEL_DEPLOYMENT, ref.name)
        return [each and each["metadata"]["resourceVersion"] for each in found]


@dataclass
class ExampleBench(SteeredBench):
    """The same, on the router that the example makes of an ApisixRoute."""

    def member(self, epoch: int) -> Process:
        process = super().member(epoch)
        process.traffic = load_example().apisix_routes(process.store, process.writer)
        return process


async def read(member: Member, ref: Ref) -> Rollout:
    """Read an object that is there."""
    found = await member.objects.read(ref)
    assert isinstance(found, Value)
    return found.value
