"""The VirtualService of Istio: destinations by host, a mirror beside them. A lone destination ignores its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelramp.adapters.counters import CounterQueries, Counters
from modelramp.adapters.dialect import EVERYTHING, Destination, Operations, Rule, find_rule, version_of
from modelramp.adapters.kinds import ROUTER, STEERED, VIRTUAL_SERVICE, Object, labels, owner_reference
from modelramp.adapters.ownership import is_left_over, is_named_after, is_owned
from modelramp.adapters.steering import destinations, signature
from modelramp.ports import Ref, Rollout
from modelramp.rollout import templates
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Effect, Failed, Reading, Route
from modelramp.rollout.queries import service
from modelramp.rollout.spec import IstioTraffic


class VirtualServices:
    """How a VirtualService says it. HTTP and gRPC routes are both in `http`."""

    kind = VIRTUAL_SERVICE
    rules_field = "http"
    destinations_field = "route"
    host_pointer = "/destination/host"

    def read_destination(self, ref: Ref, entry: Object, alone: bool) -> Destination:
        """Read a destination."""
        host = str((entry.get("destination") or {}).get("host", ""))
        weight = EVERYTHING if alone else int(entry.get("weight") or 0)
        return Destination(version_of(ref, host), host, weight, entry)

    def make_destination(self, ref: Ref, version: str, weight: int, like: Object | None) -> Object:
        """Return a version's destination. A name without dots is looked up in the object's own namespace."""
        model = like or {}
        destination = {**(model.get("destination") or {}), "host": service(ref.name, version)}
        return {**model, "destination": destination, "weight": weight}

    def read_mirror(self, ref: Ref, raw: Object) -> Mapping[str, int]:
        """Return the percent that is mirrored to each version; without a number it is all."""
        single = [(_mirrored(raw), raw.get("mirrorPercentage"))]
        listed = [(_listed(each), each.get("percentage")) for each in raw.get("mirrors") or ()]
        found = ((version_of(ref, host), percentage) for host, percentage in (*single, *listed))
        return {version: _percent(percentage) for version, percentage in found if version}

    def mirror_patch(self, ref: Ref, rule: Rule, mirror: Mapping[str, int]) -> Operations | Failed:
        """Set, move or take away our mirror: in the list where the rule has one, for Istio refuses both at once."""
        wanted = {version: percent for version, percent in mirror.items() if percent > 0}
        host, listed = _mirrored(rule.raw), rule.raw.get("mirrors")
        if dict(rule.mirror) == wanted:
            return []
        ours = bool(version_of(ref, host))
        if wanted and host and not ours:
            return Failed("MirrorTaken", f"the route already mirrors to {host}")
        gone = [*(_removal(rule) if ours else ()), *_list_removal(ref, rule)]
        fields = mirror_fields(ref, wanted)
        if fields and listed:
            entry = {"destination": fields["mirror"], "percentage": fields["mirrorPercentage"]}
            return [*gone, {"op": "add", "path": f"{rule.pointer}/mirrors/-", "value": entry}]
        return [*gone, *({"op": "add", "path": f"{rule.pointer}/{key}", "value": fields[key]} for key in fields)]


def _mirrored(raw: Object) -> str:
    return str((raw.get("mirror") or {}).get("host", ""))


def _listed(entry: Object) -> str:
    return str((entry.get("destination") or {}).get("host", ""))


def _percent(percentage: Object | None) -> int:
    return EVERYTHING if percentage is None else round(float(percentage.get("value", 0)))


def _removal(rule: Rule) -> Operations:
    numbers = ("mirror", *(field for field in ("mirrorPercentage", "mirrorPercent") if field in rule.raw))
    return [
        {"op": "test", "path": f"{rule.pointer}/mirror/host", "value": _mirrored(rule.raw)},
        *({"op": "remove", "path": f"{rule.pointer}/{field}"} for field in numbers),
    ]


def _list_removal(ref: Ref, rule: Rule) -> Operations:
    """Take our mirrors out of the list; the last goes first, so that indexes stay true."""
    hosts = [_listed(each) for each in rule.raw.get("mirrors") or ()]
    places = [(f"{rule.pointer}/mirrors/{index}", host) for index, host in enumerate(hosts) if version_of(ref, host)]
    return [
        operation
        for place, host in reversed(places)
        for operation in (
            {"op": "test", "path": f"{place}/destination/host", "value": host},
            {"op": "remove", "path": place},
        )
    ]


DIALECT = VirtualServices()


def mirror_fields(ref: Ref, mirror: Mapping[str, int]) -> Object:
    """Return the fields of a rule that mirrors; it can do so to one version alone. Raises ValueError for more."""
    wanted = [(version, percent) for version, percent in mirror.items() if percent > 0]
    if len(wanted) > 1:
        raise ValueError(f"mirror: {dict(mirror)} must name one version")
    return {
        key: value
        for version, percent in wanted
        for key, value in (("mirror", {"host": service(ref.name, version)}), ("mirrorPercentage", {"value": percent}))
    }


class OwnVirtualService:
    """The VirtualService that a ModelDeployment owns: with hosts, or without them for another to delegate to."""

    def render(self, rollout: Rollout, wanted: SetTraffic, epoch: int) -> Object:
        """Return the whole object."""
        ref = rollout.ref
        metadata = {
            "name": ref.name,
            "namespace": ref.namespace,
            "labels": self._labels(rollout),
            "annotations": signature(ref, wanted, epoch),
            "ownerReferences": [owner_reference(ref.name, rollout.uid)],
        }
        entries = destinations(DIALECT, ref, None, wanted)
        spec = _spec(rollout, entries, mirror_fields(ref, wanted.split.mirror))
        kind = DIALECT.kind
        return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}

    def is_ours(self, rollout: Rollout, obj: Object) -> bool:
        """Tell by the labels."""
        return is_named_after(obj, rollout.ref.name)

    def is_left_over(self, rollout: Rollout, obj: Object) -> bool:
        """Tell by the owner references."""
        return is_left_over(rollout, obj)

    def is_current(self, rollout: Rollout, obj: Object) -> bool:
        """Tell whether nothing but the numbers differs from what would be rendered."""
        marks = obj["metadata"].get("labels") or {}
        marked = self._labels(rollout).items() <= marks.items() and is_owned(rollout, obj)
        return marked and self._is_as_rendered(rollout, obj)

    def repair(self, rollout: Rollout, obj: Object, wanted: SetTraffic, epoch: int) -> list[Object] | None:
        """Replace the spec and put back our marks, if the object is still the one that was read."""
        if self.is_current(rollout, obj):
            return None
        whole, live = self.render(rollout, wanted, epoch)["metadata"], obj["metadata"]
        owners = [*(live.get("ownerReferences") or ()), *whole["ownerReferences"]]
        merged: dict[str, Any] = {key: {**(live.get(key) or {}), **whole[key]} for key in ("labels", "annotations")}
        merged |= {} if is_owned(rollout, obj) else {"ownerReferences": owners}
        return [
            {"op": "test", "path": "/metadata/resourceVersion", "value": live["resourceVersion"]},
            *({"op": "add", "path": f"/metadata/{key}", "value": value} for key, value in merged.items()),
            {"op": "add", "path": "/spec", "value": self.render(rollout, wanted, epoch)["spec"]},
        ]

    def _is_as_rendered(self, rollout: Rollout, obj: Object) -> bool:
        rule = find_rule(DIALECT, rollout.ref, obj, rollout.ref.name)
        if isinstance(rule, Failed) or len(rule.mirror) > 1 or not all(each.version for each in rule.destinations):
            return False
        entries = [
            DIALECT.make_destination(rollout.ref, each.version, int(each.entry.get("weight") or 0), None)
            for each in rule.destinations
        ]
        return bool(obj["spec"] == _spec(rollout, entries, mirror_fields(rollout.ref, rule.mirror)))

    @staticmethod
    def _labels(rollout: Rollout) -> dict[str, str]:
        return labels(rollout.ref.name, ROUTER) | {STEERED: "true"}


def _spec(rollout: Rollout, entries: list[Object], mirror: Object) -> Object:
    traffic = rollout.spec.traffic
    if not isinstance(traffic, IstioTraffic):
        raise TypeError(f"{rollout.ref} has no VirtualService: its traffic is {type(traffic).__name__}")
    heads = {"hosts": list(traffic.hosts), "gateways": list(traffic.gateways)}
    rule = {"name": rollout.ref.name, "route": entries, **mirror}
    return {**{key: values for key, values in heads.items() if values}, "http": [rule]}


class IstioEffect:
    """How the effect of a VirtualService is seen."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    async def measure(self, rollout: Rollout, _obj: Object, route: Route) -> Reading[Effect]:
        """Ask Istio's counters, or the user's own."""
        traffic = rollout.spec.traffic
        own = traffic.requests_query if isinstance(traffic, IstioTraffic) else ""
        asked = CounterQueries(own, own) if own else CounterQueries(templates.ISTIO_LIVE, templates.ISTIO_MIRRORED)
        return await self._counters.measure(rollout, route, asked)
