"""The scripted world's business rules."""

from __future__ import annotations

from modelramp.adapters.world import World
from modelramp.lease import Lease
from modelramp.ports import Deposed, Done, Rollout, Written
from modelramp.rollout.observation import NoData, Reading, Rules, Value

AUTHOR = "kubectl-edit"


class MemoryPolicies:
    """Rules that the world's people write; pods that are ready apply them once they are told."""

    def __init__(self, world: World, lease: Lease) -> None:
        self._world = world
        self._lease = lease

    async def read(self, rollout: Rollout) -> Reading[Rules]:
        """Read the rules, and what the pods make of them."""
        if failed := self._world.reach("api"):
            return failed
        name = _named(rollout)
        found = self._world.policies.get(name)
        if found is None:
            return NoData("PolicyNotFound", f"there is no ConfigMap {name}")
        if found.problem:
            return Value(Rules(found.hash, found.problem, author=AUTHOR))
        pods = self._pods(rollout)
        if not found.told:
            return Value(Rules(found.hash, waiting=pods, untold=pods, author=AUTHOR))
        applied = 0 if found.refused else pods
        unkept = applied > 0 and self._world.kept_policies.get(rollout.ref) != found.hash
        return Value(Rules(found.hash, refused=found.refused, applied=applied, author=AUTHOR, unkept=unkept))

    async def tell(self, rollout: Rollout, policy: str) -> Written:
        """Have the pods fetch the rules."""
        if not self._lease.held():
            return Deposed()
        if failed := self._world.reach("api"):
            return failed
        self._world.write(f"tell {policy}")
        if (found := self._world.policies.get(_named(rollout))) and found.hash == policy:
            found.told = True
        return Done()

    async def keep(self, rollout: Rollout, policy: str) -> Written:
        """Keep the rules for pods that start later."""
        if not self._lease.held():
            return Deposed()
        if failed := self._world.reach("api"):
            return failed
        self._world.write(f"keep {policy}")
        self._world.kept_policies[rollout.ref] = policy
        return Done()

    def _pods(self, rollout: Rollout) -> int:
        running = self._world.workloads.get(rollout.ref, {})
        return sum(self._world.ready(each, version) for version, each in running.items())


def _named(rollout: Rollout) -> str:
    return rollout.spec.policy.config_map if rollout.spec.policy else ""
