"""HTTPRoute and GRPCRoute of the Gateway API: backends by Service, a mirror among the filters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from modelramp.adapters.counters import CounterQueries, Counters
from modelramp.adapters.dialect import EVERYTHING, Destination, Operations, Rule, version_of
from modelramp.adapters.kinds import GATEWAY, GATEWAY_CLASS, Kind, Object
from modelramp.adapters.kubernetes import Cluster, Missing, Reply
from modelramp.ports import Conflict, Ref, Rollout
from modelramp.rollout import templates
from modelramp.rollout.observation import Effect, Failed, Reading, Route, Value
from modelramp.rollout.queries import service
from modelramp.rollout.spec import GatewayTraffic
from modelramp.rollout.status import Phase

PORT = 80
WHOLE_MIRROR, PERCENT_MIRROR = "HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror"
"""What a GatewayClass says that it supports; the Gateway API has no names of their own for a GRPCRoute's mirrors."""


@dataclass(frozen=True, slots=True)
class GatewayRoutes:
    """How a route says it."""

    kind: Kind
    rules_field: str = "rules"
    destinations_field: str = "backendRefs"
    host_pointer: str = "/name"

    def read_destination(self, ref: Ref, entry: Object, alone: bool) -> Destination:
        """Read a backend; without a weight it has 1, and alone it has all unless it has none."""
        name, weight = str(entry.get("name", "")), int(entry.get("weight", 1))
        version = version_of(ref, name) if _is_own_service(ref, entry) else ""
        return Destination(version, name, EVERYTHING if alone and weight else weight, entry)

    def make_destination(self, ref: Ref, version: str, weight: int, like: Object | None) -> Object:
        """Return a version's backend."""
        return {"port": PORT, **(like or {}), "name": service(ref.name, version), "weight": weight}

    def read_mirror(self, ref: Ref, raw: Object) -> Mapping[str, int]:
        """Return the percent that is mirrored to each version; without a number it is all."""
        found = (raw["filters"][index]["requestMirror"] for index in _ours(ref, raw))
        return {version_of(ref, mirror["backendRef"]["name"]): _percent(mirror) for mirror in found}

    def mirror_patch(self, ref: Ref, rule: Rule, mirror: Mapping[str, int]) -> Operations | Failed:
        """Take our filters away and add the one that is wanted; the last goes first, so that indexes stay true."""
        if dict(rule.mirror) == {version: percent for version, percent in mirror.items() if percent > 0}:
            return []
        at, filters, operations = f"{rule.pointer}/filters", rule.raw.get("filters"), []
        for index in reversed(list(_ours(ref, rule.raw))):
            name = filters[index]["requestMirror"]["backendRef"]["name"] if filters else ""
            operations.append({"op": "test", "path": f"{at}/{index}/requestMirror/backendRef/name", "value": name})
            operations.append({"op": "remove", "path": f"{at}/{index}"})
        wanted = [_filter(ref, version, percent) for version, percent in mirror.items() if percent > 0]
        if wanted and filters is None:
            return [{"op": "add", "path": at, "value": wanted}]
        if filters and not wanted and len(operations) == 2 * len(filters):
            return [*operations, {"op": "remove", "path": at}]
        return [*operations, *({"op": "add", "path": f"{at}/-", "value": each} for each in wanted)]


def _filter(ref: Ref, version: str, percent: int) -> Object:
    backend = {"name": service(ref.name, version), "port": PORT}
    share = {"percent": percent} if percent < EVERYTHING else {}
    return {"type": "RequestMirror", "requestMirror": {"backendRef": backend, **share}}


def _percent(mirror: Object) -> int:
    if fraction := mirror.get("fraction"):
        return round(EVERYTHING * int(fraction["numerator"]) / int(fraction.get("denominator", EVERYTHING)))
    percent = mirror.get("percent")
    return EVERYTHING if percent is None else int(percent)


def _ours(ref: Ref, raw: Object) -> Iterator[int]:
    for index, each in enumerate(raw.get("filters") or ()):
        backend = (each.get("requestMirror") or {}).get("backendRef") or {}
        if _is_own_service(ref, backend) and version_of(ref, str(backend.get("name", ""))):
            yield index


def _is_own_service(ref: Ref, backend: Object) -> bool:
    return (backend.get("kind", "Service"), backend.get("namespace", ref.namespace)) == ("Service", ref.namespace)


def needed_feature(percent: int) -> str:
    """Return what a GatewayClass has to support for a mirror of this percentage."""
    return WHOLE_MIRROR if percent == EVERYTHING else PERCENT_MIRROR


def rejection_of(route: Object) -> str:
    """Say which parent has not taken up the route as it is stored, empty where all have.

    Only a condition with the route's own generation speaks of what is stored now, and nobody may be left to take back
    what was said for a Gateway that the route names no more. Whether a Gateway of another
    namespace lets the route in, and a ReferenceGrant a backend of another one, is for who implements them to say.
    """
    metadata, spec = route["metadata"], route["spec"]
    namespace, generation = metadata.get("namespace", ""), metadata.get("generation", 0)
    entries: Sequence[Object] = (route.get("status") or {}).get("parents") or ()
    named = {_key(ref, namespace): _named(ref) for ref in spec.get("parentRefs") or ()}
    told = {_key(entry["parentRef"], namespace) for entry in entries}
    if untold := [name for key, name in named.items() if key not in told]:
        return f"{untold[0]} has not taken up the route"
    if not named:
        return "no gateway has taken up the route"
    current = (entry for entry in entries if _key(entry["parentRef"], namespace) in named)
    return next((said for entry in current for said in _complaints(entry, generation)), "")


def _key(parent: Object, namespace: str) -> tuple[str, ...]:
    kind, section = parent.get("kind", GATEWAY.name), parent.get("sectionName", "")
    return kind, parent.get("namespace", namespace), parent["name"], section


def _named(parent: Object) -> str:
    place = f"{parent['namespace']}/" if parent.get("namespace") else ""
    return f"{parent.get('kind', GATEWAY.name).lower()} {place}{parent['name']}"


def _complaints(entry: Object, generation: int) -> Iterator[str]:
    conditions = {each["type"]: each for each in entry.get("conditions") or ()}
    name = _named(entry["parentRef"])
    for kind in ("Accepted", "ResolvedRefs"):
        found = conditions.get(kind) or {}
        if found.get("observedGeneration", 0) < generation:
            yield f"{name} has not looked at the newest route"
        elif found.get("status") != "True":
            yield f"{name}: {kind} is {found.get('status')}: {found.get('reason', '')}"


class GatewayEffect:
    """How the effect of a route is seen: its gateways have taken it up, and the counters say so too."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def measure(self, rollout: Rollout, obj: Object, route: Route) -> Reading[Effect]:
        """Ask the route's status, then the model servers' counters, or the user's own."""
        traffic = rollout.spec.traffic
        own = traffic.requests_query if isinstance(traffic, GatewayTraffic) else ""
        query = own or templates.SERVED
        reading = await self._counters.measure(rollout, route, CounterQueries(query, query))
        rejection = rejection_of(obj)
        if not rejection or not isinstance(reading, Value):
            return reading
        return Value(replace(reading.value, in_effect=None, detail=rejection, rejection=rejection, scarce=False))


class GatewayFeatures:
    """What the classes of a route's gateways say that they support; asked again after a minute."""

    def __init__(self, cluster: Cluster, remembered: float = 60.0) -> None:
        self._cluster, self._remembered = cluster, remembered
        self._known: dict[tuple[str, str], tuple[float, frozenset[str] | Failed]] = {}

    async def refuse(self, rollout: Rollout, obj: Object) -> str:
        """Say why the planned shadow cannot be, empty where it can: a class must say that it mirrors so."""
        attempt = rollout.status.attempt
        shadow = attempt.plan.shadow if attempt and rollout.status.phase is Phase.STARTING else None
        if shadow is None:
            return ""
        feature = needed_feature(shadow.percent)
        for parent in obj["spec"].get("parentRefs") or ():
            if said := await self._lacks(parent, obj["metadata"]["namespace"], feature):
                return said
        return ""

    async def _lacks(self, parent: Object, namespace: str, feature: str) -> str:
        if parent.get("kind", GATEWAY.name) != GATEWAY.name:
            return f"{parent['kind']} {parent['name']} is no Gateway, and does not say that it supports {feature}"
        supported = await self._supported(parent.get("namespace", namespace), parent["name"])
        if isinstance(supported, Failed):
            return f"whether {parent['name']} supports {feature} is not known: {supported.message}"
        return "" if feature in supported else f"Gateway {parent['name']} does not say that it supports {feature}"

    async def _supported(self, namespace: str, name: str) -> frozenset[str] | Failed:
        now, known = asyncio.get_running_loop().time(), self._known.get((namespace, name))
        if known is None or now > known[0]:
            known = self._known[namespace, name] = (now + self._remembered, await self._ask(namespace, name))
        return known[1]

    async def _ask(self, namespace: str, name: str) -> frozenset[str] | Failed:
        gateway = await self._cluster.get(GATEWAY, namespace, name)
        if not isinstance(gateway, Reply):
            return _unread(gateway)
        found = await self._cluster.get(GATEWAY_CLASS, "", gateway.object["spec"]["gatewayClassName"])
        if not isinstance(found, Reply):
            return _unread(found)
        features = (found.object.get("status") or {}).get("supportedFeatures") or ()
        return frozenset(str(each["name"]) for each in features)


def _unread(answer: Missing | Conflict | Failed) -> Failed:
    return answer if isinstance(answer, Failed) else Failed("NotRead", answer.message)
