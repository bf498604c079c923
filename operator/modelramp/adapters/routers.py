"""The router of a ModelDeployment: Envoys, their address and their rights, applied when they are not as rendered."""

from __future__ import annotations

from dataclasses import replace

from modelramp.adapters.kinds import DEPLOYMENT, TEMPLATE, Object, owner_reference
from modelramp.adapters.live import Conformity
from modelramp.adapters.podspec import hash_of
from modelramp.adapters.store import Store
from modelramp.adapters.writer import Writer, written
from modelramp.ports import Done, Rollout, Written
from modelramp.rollout.spec import ConfigMapTraffic
from modelramp.router.podspec import RouterSettings, render_router, router_name


class Routers:
    """What carries the split of a ConfigMap."""

    def __init__(self, store: Store, writer: Writer, settings: RouterSettings) -> None:
        self._store = store
        self._writer = writer
        self._settings = settings
        self._conformity = Conformity()

    def are_current(self, rollout: Rollout) -> bool:
        """Tell whether the router's Deployment is as rendered; it is applied last and so stands for the rest."""
        live = self._store.get(DEPLOYMENT, rollout.ref.namespace, router_name(rollout.ref.name))
        if live is None:
            # Before the first LIST nobody knows; a write finds out.
            return not self._store.is_complete(DEPLOYMENT)
        asked = (rollout.ref, rollout.uid, _replicas(rollout))
        return self._conformity.holds(live, asked, lambda: self._render(rollout)[-1])

    async def ensure(self, rollout: Rollout) -> Written:
        """Apply what is not as rendered, the pods last: they need the rest to start."""
        known = self._store.get(DEPLOYMENT, rollout.ref.namespace, router_name(rollout.ref.name))
        if known is not None and self.are_current(rollout):
            return Done()
        for obj in self._render(rollout):
            outcome = written(await self._writer.apply(obj))
            if not isinstance(outcome, Done):
                return outcome
        return Done()

    def _render(self, rollout: Rollout) -> list[Object]:
        ref = rollout.ref
        settings = replace(self._settings, replicas=_replicas(rollout))
        rendered = render_router(ref.namespace, ref.name, settings)
        ordered = sorted(rendered, key=lambda obj: obj["kind"] == DEPLOYMENT.name)
        owned = [_with(obj, ownerReferences=[owner_reference(ref.name, rollout.uid)]) for obj in ordered]
        return [*owned[:-1], _with(owned[-1], annotations={TEMPLATE: hash_of(*owned)})]


def _replicas(rollout: Rollout) -> int:
    traffic = rollout.spec.traffic
    if not isinstance(traffic, ConfigMapTraffic):
        raise TypeError(f"{rollout.ref} has no router: its traffic is {type(traffic).__name__}")
    return traffic.router_replicas


def _with(obj: Object, **metadata: object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **metadata}}
