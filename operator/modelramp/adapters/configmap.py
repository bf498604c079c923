"""The route as a ConfigMap that a router of our own follows; anybody may change its numbers with kubectl."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from modelramp.adapters.kinds import CONFIG_MAP, ROUTER, Object, labels, owner_reference
from modelramp.adapters.kubernetes import Missing, Reply
from modelramp.adapters.ownership import is_left_over, is_marked
from modelramp.adapters.proxies import Proxies
from modelramp.adapters.route import Stored, marks_of, merge_patch, parse, read_route, retreat_patch
from modelramp.adapters.routers import Routers
from modelramp.adapters.store import Store
from modelramp.adapters.writer import Outcome, Writer, written
from modelramp.ports import Conflict, Deposed, Done, Ref, Rollout, Written
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Effect, Failed, NoData, Reading, Route, Split, Value
from modelramp.rollout.spec import ConfigMapTraffic
from modelramp.router.podspec import config_map_name
from modelramp.router.render import CDS, RDS, Backend, RenderSettings, render_config_map, service_host

Locate = Callable[[Ref, str], Backend]
DIGESTS = 4096


def locate_service(ref: Ref, version: str) -> Backend:
    """Return where a version answers: its Service."""
    return Backend(version, service_host(ref.namespace, ref.name, version), 80)


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """How routes are rendered, where versions answer, and for how many seconds a retreat tries against others."""

    render: RenderSettings = field(default_factory=RenderSettings)
    locate: Locate = locate_service
    contention: float = 2.0


class ConfigMapRoutes:
    """Splits as the scalar keys of `NAME-traffic`; structure as `rds.yaml` and `cds.yaml` beside them."""

    def __init__(
        self, store: Store, writer: Writer, routers: Routers, proxies: Proxies, settings: TrafficSettings
    ) -> None:
        self._store = store
        self._writer = writer
        self._routers = routers
        self._proxies = proxies
        self._settings = settings
        self._parsed: dict[Ref, Stored] = {}
        self._rendered: dict[tuple[Ref, tuple[str, ...], str | None, bool], int] = {}

    async def read(self, rollout: Rollout) -> Reading[Route]:
        """Read the stored split; NoData("NoRoute") when there is none yet."""
        stored = await self._find(rollout)
        if isinstance(stored, Stored) and not is_left_over(rollout, stored.config_map):
            return Value(read_route(stored, current=self._is_current(rollout, stored)))
        if isinstance(stored, Failed):
            return stored
        self._forget(rollout.ref)
        return NoData("NoRoute", f"there is no ConfigMap {_path(rollout.ref)} yet")

    async def measure(self, rollout: Rollout) -> Reading[Effect]:
        """Ask the proxies what they do."""
        stored = await self._find(rollout)
        if isinstance(stored, Stored):
            return await self._proxies.measure(rollout.ref, stored)
        return stored or Failed("NoRoute", f"there is no ConfigMap {_path(rollout.ref)} yet")

    async def write(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        """Store the split, then what carries it; a retreat does not give up while it has time."""
        ends = asyncio.get_running_loop().time() + (self._settings.contention if wanted.retreat else 0.0)
        outcome = await self._store_split(rollout, wanted)
        while isinstance(outcome, Conflict):
            await self._refresh(rollout.ref)
            if asyncio.get_running_loop().time() >= ends:
                return outcome
            outcome = await self._store_split(rollout, wanted)
        self._proxies.expire(rollout.ref)
        # Without a spec that can be used nobody knows how many routers there are to be.
        ensures = isinstance(outcome, Done) and not rollout.spec.problem
        return await self._routers.ensure(rollout) if ensures else outcome

    async def _store_split(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        stored = await self._find(rollout)
        if isinstance(stored, Failed):
            return stored
        config_map = self._render(rollout, wanted)
        if stored is None:
            return written(await self._writer.create(config_map))
        if stored.epoch is not None and stored.epoch > self._writer.epoch:
            return Deposed()
        if wanted.retreat:
            outcome = await self._retreat(rollout, stored, wanted)
            if not isinstance(outcome, Stored):
                return written(outcome)
            stored = outcome
        patch = merge_patch(stored, config_map)
        return Done() if patch is None else written(await self._patch(rollout.ref, patch))

    async def _retreat(self, rollout: Rollout, stored: Stored, wanted: SetTraffic) -> Stored | Outcome:
        """Write the numbers, which nothing but a newer leader can refuse, and return what is stored then."""
        route = read_route(stored, current=True)
        if route.split is not None and route.split.same(wanted.split) and not route.malformed:
            return stored
        patch = retreat_patch(stored, wanted.split, wanted.why, self._writer.epoch)
        if patch is None:
            return stored
        outcome = await self._patch(rollout.ref, patch)
        return self._parse(rollout.ref, outcome.object) if isinstance(outcome, Reply) else outcome

    async def _patch(self, ref: Ref, patch: Object | list[Object]) -> Outcome:
        return await self._writer.patch(CONFIG_MAP, ref.namespace, config_map_name(ref.name), patch)

    async def _find(self, rollout: Rollout) -> Stored | Failed | None:
        """Return the ConfigMap; the API server is asked only where it should be there and is not."""
        ref = rollout.ref
        known = self._store.get(CONFIG_MAP, ref.namespace, config_map_name(ref.name))
        if known is not None:
            return self._parse(ref, known)
        if self._store.is_complete(CONFIG_MAP) and rollout.status.stable is None:
            return None
        return await self._refresh(ref)

    async def _refresh(self, ref: Ref) -> Stored | Failed | None:
        match await self._writer.refresh(CONFIG_MAP, ref.namespace, config_map_name(ref.name)):
            case Reply(config_map):
                return self._parse(ref, config_map)
            case Missing():
                return None
            case Conflict(message):
                return Failed("Conflict", message)
            case failed:
                return failed

    def _parse(self, ref: Ref, config_map: Object) -> Stored:
        known = self._parsed.get(ref)
        if known is None or known.config_map is not config_map:
            known = self._parsed[ref] = parse(config_map, known)
        return known

    def _render(self, rollout: Rollout, wanted: SetTraffic) -> Object:
        """Return the whole ConfigMap. Raises ValueError for a split that is none."""
        ref = rollout.ref
        data = self._data(rollout, wanted.backends, wanted.stable, wanted.split)
        metadata = {
            "name": config_map_name(ref.name),
            "namespace": ref.namespace,
            "labels": labels(ref.name, ROUTER),
            "annotations": marks_of(wanted.split, wanted.why, self._writer.epoch),
            "ownerReferences": [owner_reference(ref.name, rollout.uid)],
        }
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def _data(self, rollout: Rollout, versions: tuple[str, ...], stable: str | None, split: Split) -> dict[str, str]:
        ref = rollout.ref
        backends = [self._settings.locate(ref, version) for version in versions]
        weights = {version: percent for version, percent in split.weights.items() if percent > 0}
        mirror = {version: percent for version, percent in split.mirror.items() if percent > 0}
        return render_config_map(
            ref.namespace,
            ref.name,
            backends,
            stable=stable,
            split=weights,
            mirror=mirror,
            settings=replace(self._settings.render, idempotent=_is_idempotent(rollout)),
        )

    def _is_current(self, rollout: Rollout, stored: Stored) -> bool:
        """Tell whether all that carries the split is as it should be.

        With a candidate on the way the epoch counts too: what a deposed leader still sends is refused only once
        the object carries the new one.
        """
        late = rollout.status.candidate is not None and (stored.epoch or 0) < self._writer.epoch
        marked = is_marked(stored.config_map, rollout.ref.name, ROUTER)
        return not late and marked and self._is_our_structure(rollout, stored) and self._routers.are_current(rollout)

    def _is_our_structure(self, rollout: Rollout, stored: Stored) -> bool:
        if stored.structure is None:
            return False
        routes = stored.structure.routes
        key = (rollout.ref, routes.versions, routes.stable, _is_idempotent(rollout))
        if key not in self._rendered:
            if len(self._rendered) > DIGESTS:
                self._rendered.clear()
            split = Split({routes.stable: 100} if routes.stable else {})
            self._rendered[key] = _digest(self._data(rollout, routes.versions, routes.stable, split))
        return self._rendered[key] == _digest(stored.data)

    def _forget(self, ref: Ref) -> None:
        self._parsed.pop(ref, None)
        self._proxies.forget(ref)


def _is_idempotent(rollout: Rollout) -> bool:
    traffic = rollout.spec.traffic
    return isinstance(traffic, ConfigMapTraffic) and traffic.idempotent


def _digest(data: Object) -> int:
    return hash((data.get(RDS), data.get(CDS)))


def _path(ref: Ref) -> str:
    return f"{ref.namespace}/{config_map_name(ref.name)}"
