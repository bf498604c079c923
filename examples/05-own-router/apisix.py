"""A router of your own, in one file: the rule of an ApisixRoute.

https://apisix.apache.org/docs/ingress-controller/references/apisix_route_v2/
"""

from __future__ import annotations

from collections.abc import Mapping

from modelramp.adapters.claims import Claim
from modelramp.adapters.dialect import EVERYTHING, Destination, Operations, Rule, version_of
from modelramp.adapters.kinds import Kind, Object
from modelramp.adapters.steered import Steerage, SteeredRoutes
from modelramp.adapters.store import Store
from modelramp.adapters.writer import Writer
from modelramp.ports import Ref, Rollout
from modelramp.rollout.observation import Effect, Failed, Reading, Route, Value
from modelramp.rollout.queries import service

APISIX_ROUTE = Kind("apisix.apache.org/v2", "ApisixRoute", "apisixroutes")
MIRROR = "proxy-mirror"


class ApisixRoutes:
    """How an ApisixRoute says which version gets how much: `spec.http[].backends[]`, and a plugin that mirrors."""

    kind = APISIX_ROUTE
    rules_field = "http"
    destinations_field = "backends"
    host_pointer = "/serviceName"

    def read_destination(self, ref: Ref, entry: Object, alone: bool) -> Destination:
        """Read a backend; alone it has everything."""
        name = str(entry.get("serviceName", ""))
        return Destination(version_of(ref, name), name, EVERYTHING if alone else int(entry.get("weight", 0)), entry)

    def make_destination(self, ref: Ref, version: str, weight: int, like: Object | None) -> Object:
        """Return a version's backend with all that another one says besides."""
        return {"servicePort": 80, **(like or {}), "serviceName": service(ref.name, version), "weight": weight}

    def read_mirror(self, ref: Ref, raw: Object) -> Mapping[str, int]:
        """Return the percent that the plugin copies to each version."""
        return {
            version: round(EVERYTHING * plugin["config"].get("sample_ratio", 1))
            for plugin in raw.get("plugins") or ()
            if (version := _mirrored(ref, plugin))
        }

    def mirror_patch(self, ref: Ref, rule: Rule, mirror: Mapping[str, int]) -> Operations | Failed:
        """Replace the list of plugins by one with our mirror, or without it."""
        wanted = {version: percent for version, percent in mirror.items() if percent > 0}
        if dict(rule.mirror) == wanted:
            return []
        plugins = list(rule.raw.get("plugins") or ())
        theirs = [plugin for plugin in plugins if not _mirrored(ref, plugin)]
        if wanted and any(plugin["name"] == MIRROR for plugin in theirs):
            return Failed("MirrorTaken", "the rule already mirrors")
        ours = [_plugin(ref, version, percent) for version, percent in wanted.items()]
        return [
            {"op": "test", "path": f"{rule.pointer}/plugins", "value": rule.raw.get("plugins")},
            {"op": "add", "path": f"{rule.pointer}/plugins", "value": [*theirs, *ours]},
        ]


def _plugin(ref: Ref, version: str, percent: int) -> Object:
    host = f"http://{service(ref.name, version)}.{ref.namespace}:80"
    return {"name": MIRROR, "enable": True, "config": {"host": host, "sample_ratio": percent / EVERYTHING}}


def _mirrored(ref: Ref, plugin: Object) -> str:
    host = str((plugin.get("config") or {}).get("host", "")) if plugin.get("name") == MIRROR else ""
    return version_of(ref, host.removeprefix("http://").removesuffix(":80"))


def claim(rollout: Rollout) -> Claim:
    """Return which rule is steered: here the one that is named after the ModelDeployment, in an object of that name."""
    return Claim(APISIX_ROUTE, rollout.ref.name, rollout.ref.name)


async def measure(_rollout: Rollout, obj: Object, route: Route) -> Reading[Effect]:
    """Believe the controller's own word that it has synchronized the object as it is stored."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    generation = obj["metadata"].get("generation", 0)
    synced = any(
        (each["type"], each["status"]) == ("ResourcesAvailable", "True") and each["observedGeneration"] >= generation
        for each in conditions
    )
    effect = Effect(route.split if synced else None, detail="" if synced else "APISIX has not taken up the route")
    return Value(effect)


def apisix_routes(store: Store, writer: Writer) -> SteeredRoutes:
    """Return the adapter of the Traffic port: hand it to `RoutesByBackend` in `wiring.py`."""
    return SteeredRoutes(store, writer, Steerage(ApisixRoutes(), measure, claim=claim))
