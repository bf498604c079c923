"""The route as a rule in an object of a mesh or a gateway: ours, or one that somebody else owns and lets us steer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from modelramp.adapters.claims import Claim, claim_of_rollout, find_elder
from modelramp.adapters.dialect import Dialect, Operations, Rule, find_rule
from modelramp.adapters.kinds import MODEL_DEPLOYMENT, STEERED, Object
from modelramp.adapters.kubernetes import Missing, Reply
from modelramp.adapters.steering import (
    Stored,
    at_each_place,
    epoch_of,
    progress_patch,
    read_route,
    retreat_patch,
)
from modelramp.adapters.store import Store
from modelramp.adapters.writer import Outcome, Writer, written
from modelramp.ports import Conflict, Deposed, Done, Rollout, Written
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Effect, Failed, NoData, Reading, Route, Value

CONTENTION = 2.0
"""Seconds for which a retreat tries against others who write."""


class Owned(Protocol):
    """What an object of our own is to be."""

    def render(self, rollout: Rollout, wanted: SetTraffic, epoch: int) -> Object:
        """Return the whole object."""
        ...

    def is_ours(self, rollout: Rollout, obj: Object) -> bool:
        """Tell whether an object of this name belongs to the ModelDeployment, or to one that had its name before."""
        ...

    def is_left_over(self, rollout: Rollout, obj: Object) -> bool:
        """Tell whether an object goes with an earlier ModelDeployment of the same name."""
        ...

    def repair(self, rollout: Rollout, obj: Object, wanted: SetTraffic, epoch: int) -> list[Object] | None:
        """Return a JSON patch to all that it is to be, None where that is only a matter of numbers."""
        ...

    def is_current(self, rollout: Rollout, obj: Object) -> bool:
        """Tell whether all but the numbers is as it is to be."""
        ...


Measure = Callable[[Rollout, Object, Route], Awaitable[Reading[Effect]]]
Refuse = Callable[[Rollout, Object], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Steerage:
    """How a route is steered, how its effect is seen, whether the object is ours, what it cannot do, which it is."""

    dialect: Dialect
    measure: Measure
    owned: Owned | None = None
    refuse: Refuse | None = None
    claim: Callable[[Rollout], Claim] = claim_of_rollout


class SteeredRoutes:
    """Splits as the weights of one rule. Everything else in the object stays as it is, byte for byte."""

    def __init__(self, store: Store, writer: Writer, steerage: Steerage, contention: float = CONTENTION) -> None:
        self._store, self._writer = store, writer
        self._steerage = steerage
        self._contention = contention

    async def read(self, rollout: Rollout) -> Reading[Route]:
        """Read the stored split; NoData("NoRoute") when an object of ours is not there yet."""
        stored = await self._find(rollout)
        if isinstance(stored, Failed):
            return stored
        owned = self._steerage.owned
        if stored is None or (owned and owned.is_left_over(rollout, stored.obj)):
            return NoData("NoRoute", f"there is no {self._path(rollout)} yet")
        refuse = self._steerage.refuse
        refuses = await refuse(rollout, stored.obj) if refuse else ""
        return Value(replace(self._read(rollout, stored), refuses=refuses))

    async def measure(self, rollout: Rollout) -> Reading[Effect]:
        """Ask the mesh, by way of its counters, what it does."""
        stored = await self._find(rollout)
        if isinstance(stored, Stored):
            return await self._steerage.measure(rollout, stored.obj, self._read(rollout, stored))
        return stored or Failed("NoRoute", f"there is no {self._path(rollout)} yet")

    async def write(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        """Store the split; a retreat does not give up while it has time."""
        ends = asyncio.get_running_loop().time() + (self._contention if wanted.retreat else 0.0)
        outcome = await self._store_split(rollout, wanted)
        while isinstance(outcome, Conflict):
            await self._refresh(rollout)
            if asyncio.get_running_loop().time() >= ends:
                return outcome
            outcome = await self._store_split(rollout, wanted, contended=True)
        return outcome

    async def _store_split(self, rollout: Rollout, wanted: SetTraffic, *, contended: bool = False) -> Written:
        stored = await self._find(rollout)
        if isinstance(stored, Failed):
            return stored if self._writer.may_write() else Deposed()
        if stored is None:
            return await self._create(rollout, wanted)
        if (epoch_of(rollout.ref, stored) or 0) > self._writer.epoch:
            return Deposed()
        if wanted.retreat:
            outcome = await self._retreat(rollout, stored, wanted, contended=contended)
            if not isinstance(outcome, Stored):
                return outcome if isinstance(outcome, Deposed | Failed | Conflict) else written(outcome)
            stored = outcome
        return await self._progress(rollout, stored, wanted)

    async def _create(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        owned = self._steerage.owned
        if owned is None:
            return Failed("NoRoute", f"there is no {self._path(rollout)}")
        return written(await self._writer.create(owned.render(rollout, wanted, self._writer.epoch)))

    async def _retreat(
        self, rollout: Rollout, stored: Stored, wanted: SetTraffic, *, contended: bool
    ) -> Stored | Outcome:
        """Write the numbers, which nothing but a newer leader can refuse, and return what is stored then."""
        route, dialect = self._read(rollout, stored), self._steerage.dialect
        if route.split is not None and route.split.same(wanted.split) and not route.malformed:
            return stored
        places = at_each_place(dialect, stored) if contended else [stored]
        patches = [retreat_patch(dialect, rollout.ref, place, wanted, self._writer.epoch) for place in places]
        if patches[0] is None or isinstance(patches[0], Failed):
            return patches[0] or stored
        outcome = await self._patch_one(rollout, [patch for patch in patches if isinstance(patch, list)])
        if not isinstance(outcome, Reply):
            return outcome
        found = self._parse(rollout, outcome.object)
        return found if isinstance(found, Stored) else Conflict("the route has been modified")

    async def _patch_one(self, rollout: Rollout, patches: list[Operations]) -> Outcome:
        """Send patches of which one at the most is for the object as it is; a patch that does not apply is no failure.

        All at once: between a read and a write somebody may move the rule again, as often as we look.
        """
        return min(await asyncio.gather(*(self._patch(rollout, patch) for patch in patches)), key=_rank)

    async def _progress(self, rollout: Rollout, stored: Stored, wanted: SetTraffic) -> Written:
        owned, epoch = self._steerage.owned, self._writer.epoch
        whole = owned.repair(rollout, stored.obj, wanted, epoch) if owned else None
        patch = whole or progress_patch(self._steerage.dialect, rollout.ref, stored, wanted, epoch)
        if patch is None or isinstance(patch, Failed):
            return patch or (Done() if self._writer.may_write() else Deposed())
        return written(await self._patch(rollout, patch))

    async def _patch(self, rollout: Rollout, patch: Operations) -> Outcome:
        claim = self._steerage.claim(rollout)
        return await self._writer.patch(claim.kind, rollout.ref.namespace, claim.name, patch)

    async def _find(self, rollout: Rollout) -> Stored | Failed | None:
        """Return the object; the API server is asked only where it should be there and is not."""
        claim, namespace = self._steerage.claim(rollout), rollout.ref.namespace
        known = self._store.get(claim.kind, namespace, claim.name)
        if known is not None:
            return self._admit(rollout, known)
        never = self._steerage.owned is not None and rollout.status.stable is None
        if never and self._store.is_complete(claim.kind):
            return None
        return await self._refresh(rollout)

    async def _refresh(self, rollout: Rollout) -> Stored | Failed | None:
        claim = self._steerage.claim(rollout)
        match await self._writer.refresh(claim.kind, rollout.ref.namespace, claim.name):
            case Reply(obj):
                return self._admit(rollout, obj)
            case Missing():
                return None if self._steerage.owned else Failed("NoRoute", f"there is no {self._path(rollout)}")
            case Conflict(message):
                return Failed("Conflict", message)
            case failed:
                return failed

    def _admit(self, rollout: Rollout, obj: Object) -> Stored | Failed:
        """Refuse an object that is somebody else's and does not let itself be steered, or whose rule is taken."""
        claim, owned = self._steerage.claim(rollout), self._steerage.owned
        if owned is not None and not owned.is_ours(rollout, obj):
            return Failed("NameTaken", f"{self._path(rollout)} exists and is not modelramp's")
        if owned is None and (obj["metadata"].get("labels") or {}).get(STEERED) != "true":
            self._store.drop(claim.kind, obj)  # the watch does not see it, and so would never correct it
            return Failed("NotOptedIn", f'{self._path(rollout)} does not have the label {STEERED}: "true"')
        if elder := self._elder(rollout, claim):
            rule = f"route {claim.rule} of " if claim.rule else ""
            return Failed("RouteTaken", f"{rule}{self._path(rollout)} is steered by {elder}, which is older")
        return self._parse(rollout, obj)

    def _elder(self, rollout: Rollout, claim: Claim) -> str:
        mine = self._store.get(MODEL_DEPLOYMENT, rollout.ref.namespace, rollout.ref.name)
        rivals = self._store.claimants(claim.kind, rollout.ref.namespace, claim.name)
        return find_elder(mine, rivals) if mine else ""

    def _parse(self, rollout: Rollout, obj: Object) -> Stored | Failed:
        owned, dialect = self._steerage.owned, self._steerage.dialect
        rule = find_rule(dialect, rollout.ref, obj, rollout.ref.name if owned else self._steerage.claim(rollout).rule)
        if isinstance(rule, Failed):
            # What is ours is made anew as a whole.
            return Stored(obj, Rule(f"/spec/{dialect.rules_field}/0", {}, (), {})) if owned else rule
        return Stored(obj, rule)

    def _read(self, rollout: Rollout, stored: Stored) -> Route:
        """Return the route; with a candidate on the way the epoch counts, for by it a deposed leader is refused."""
        owned = self._steerage.owned
        late = rollout.status.candidate is not None and (epoch_of(rollout.ref, stored) or 0) < self._writer.epoch
        current = not late and (owned is None or owned.is_current(rollout, stored.obj))
        return read_route(self._steerage.dialect, rollout.ref, stored, current=current)

    def _path(self, rollout: Rollout) -> str:
        claim = self._steerage.claim(rollout)
        return f"{claim.kind.name} {rollout.ref.namespace}/{claim.name}"


def _rank(outcome: Outcome) -> int:
    """Order what became of several patches: what was done counts before why another was not."""
    match outcome:
        case Reply():
            return 0
        case Deposed():
            return 1
        case Conflict():
            return 2
        case Missing() | Failed():
            return 3
