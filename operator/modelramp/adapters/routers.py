"""The router of a ModelDeployment: Envoys, their address and their rights, applied when they are not as rendered."""

from __future__ import annotations

from dataclasses import replace

from modelramp.adapters.kinds import (
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    REST,
    SERVICE,
    Kind,
    Object,
    kind_of,
    owner_reference,
)
from modelramp.adapters.live import Conformity, is_as_rendered, is_deployed, is_kept
from modelramp.adapters.store import Store
from modelramp.adapters.templates import hash_of, stamped
from modelramp.adapters.writer import Writer, written
from modelramp.ports import Done, Rollout, Written
from modelramp.rollout.spec import ConfigMapTraffic
from modelramp.rollout.status import Phase
from modelramp.router.podspec import RouterSettings, render_router, router_name

ADOPTING = (Phase.PENDING, Phase.GATING, Phase.STARTING)
"""When a router takes on what a newer operator makes of it: at the start of an attempt, before any traffic moves."""


class Routers:
    """What carries the split of a ConfigMap."""

    def __init__(self, store: Store, writer: Writer, settings: RouterSettings) -> None:
        self._store = store
        self._writer = writer
        self._settings = settings
        self._conformity = Conformity()

    def are_current(self, rollout: Rollout) -> bool:
        """Tell whether the router is as rendered; its Deployment, applied last, stands for what is not watched."""
        return all(self._is_current(rollout, kind, name) for kind, name in _watched(rollout))

    async def ensure(self, rollout: Rollout) -> Written:
        """Apply what is not as rendered, the pods last: they need the rest to start."""
        known = self._store.get(DEPLOYMENT, rollout.ref.namespace, router_name(rollout.ref.name))
        if known is not None and self.are_current(rollout):
            return Done()
        for obj in self._render(rollout):
            if obj["kind"] == DEPLOYMENT.name and known and _keeps_pods(rollout) and is_kept(known, obj):
                obj = await self._writer.with_its_own_pods(obj)  # noqa: PLW2901
            outcome = written(await self._writer.apply(obj))
            if not isinstance(outcome, Done):
                return outcome
        return Done()

    def _is_current(self, rollout: Rollout, kind: Kind, name: str) -> bool:
        live = self._store.get(kind, rollout.ref.namespace, name)
        if live is None:
            # Before the first LIST nobody knows; a write finds out.
            return not self._store.is_complete(kind)

        def judge() -> bool:
            wanted = next(obj for obj in self._render(rollout) if kind_of(obj) is kind)
            if kind is DEPLOYMENT:
                return is_deployed(live, wanted, keeps_pods=_keeps_pods(rollout))
            return is_as_rendered(live, wanted)

        asked = (rollout.ref, rollout.uid, _traffic(rollout), _pull_secrets(rollout), _keeps_pods(rollout))
        return self._conformity.holds(live, asked, judge)

    def _render(self, rollout: Rollout) -> list[Object]:
        ref = rollout.ref
        traffic, secrets = _traffic(rollout), _pull_secrets(rollout)
        settings = replace(
            self._settings,
            replicas=traffic.router_replicas,
            image_pull_secrets=secrets,
            node_selector=traffic.node_selector,
            tolerations=traffic.tolerations,
        )
        rendered = render_router(ref.namespace, ref.name, settings)
        ordered = sorted(rendered, key=lambda obj: obj["kind"] == DEPLOYMENT.name)
        # Also of what is not watched: the Deployment's stamp stands for all.
        stamp = hash_of(*(obj if obj is not ordered[-1] else _without_pods(obj) for obj in ordered))
        owner = [owner_reference(ref.name, rollout.uid)]
        owned = [_with(obj, ownerReferences=owner, annotations={REST: stamp}) for obj in ordered]
        # All that is asked of a router's pods is how to pull their images, and where they go.
        where = [placed for placed in (traffic.node_selector, traffic.tolerations) if placed]
        asked = " ".join(["router", *secrets, *([hash_of(where)] if where else [])])
        return [*owned[:-1], stamped(owned[-1], asked)]


def _keeps_pods(rollout: Rollout) -> bool:
    return rollout.status.stable is not None and rollout.status.phase not in ADOPTING


def _watched(rollout: Rollout) -> list[tuple[Kind, str]]:
    """Return the router's objects that the watches bring."""
    name = router_name(rollout.ref.name)
    budget = [(DISRUPTION_BUDGET, name)] if _traffic(rollout).router_replicas > 1 else []
    return [(DEPLOYMENT, name), (SERVICE, rollout.ref.name), *budget]


def _traffic(rollout: Rollout) -> ConfigMapTraffic:
    traffic = rollout.spec.traffic
    if not isinstance(traffic, ConfigMapTraffic):
        raise TypeError(f"{rollout.ref} has no router: its traffic is {type(traffic).__name__}")
    return traffic


def _pull_secrets(rollout: Rollout) -> tuple[str, ...]:
    return rollout.spec.serving.image_pull_secrets


def _without_pods(deployment: Object) -> Object:
    return {field: value for field, value in deployment["spec"].items() if field != "template"}


def _with(obj: Object, **metadata: object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **metadata}}
