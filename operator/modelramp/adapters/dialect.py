"""How an object of a mesh or a gateway says which version gets how much: what the kinds have in common. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelramp.adapters.kinds import Kind, Object
from modelramp.ports import Ref
from modelramp.rollout.observation import Failed, Split

EVERYTHING = 100
Operations = list[Object]
"""A JSON patch."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a rule sends requests; `version` is empty for what is no version of the ModelDeployment."""

    version: str
    host: str
    weight: int
    entry: Object


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule that is steered: its JSON pointer in the object, and what it says."""

    pointer: str
    raw: Object
    destinations: tuple[Destination, ...]
    mirror: Mapping[str, int]
    """Percent copied to each version."""

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the versions that it names, in its order."""
        return tuple(each.version for each in self.destinations if each.version)


class Dialect(Protocol):
    """One kind of object."""

    @property
    def kind(self) -> Kind: ...
    @property
    def rules_field(self) -> str:
        """Return the field of the spec that holds the rules."""
        ...

    @property
    def destinations_field(self) -> str:
        """Return the field of a rule that holds the destinations."""
        ...

    @property
    def host_pointer(self) -> str:
        """Return where in a destination its host is."""
        ...

    def read_destination(self, ref: Ref, entry: Object, alone: bool) -> Destination:
        """Read a destination; `alone` where the rule has no other."""
        ...

    def make_destination(self, ref: Ref, version: str, weight: int, like: Object | None) -> Object:
        """Return a version's destination with all that another one says besides."""
        ...

    def read_mirror(self, ref: Ref, raw: Object) -> Mapping[str, int]:
        """Return the percent that a rule copies to each version."""
        ...

    def mirror_patch(self, ref: Ref, rule: Rule, mirror: Mapping[str, int]) -> Operations | Failed:
        """Return what makes a rule copy so, with the tests that keep other people's mirrors out of it."""
        ...


def version_of(ref: Ref, host: str) -> str:
    """Return the version whose Service a host is, empty for any other."""
    own, namespace = re.escape(ref.name), re.escape(ref.namespace)
    found = re.fullmatch(rf"{own}-v(\d+)(\.{namespace}(\.svc(\..+)?)?)?", host)
    return found[1] if found else ""


def find_rule(dialect: Dialect, ref: Ref, obj: Object, name: str) -> Rule | Failed:
    """Find a rule by its name, wherever it stands; without a name, the only one."""
    rules = (obj.get("spec") or {}).get(dialect.rules_field) or ()
    found = [index for index, raw in enumerate(rules) if not name or raw.get("name") == name]
    if len(found) != 1:
        return _not_one(dialect, obj, name, len(found))
    raw = rules[found[0]]
    entries: Sequence[Object] = raw.get(dialect.destinations_field) or ()
    return Rule(
        f"/spec/{dialect.rules_field}/{found[0]}",
        raw,
        tuple(dialect.read_destination(ref, entry, len(entries) == 1) for entry in entries),
        dialect.read_mirror(ref, raw),
    )


def _not_one(dialect: Dialect, obj: Object, name: str, count: int) -> Failed:
    what = f"{dialect.kind.name} {obj['metadata']['namespace']}/{obj['metadata']['name']}"
    if not name:
        return Failed("AmbiguousRoute", f"{what} has {count} rules: name one of them in spec.traffic")
    said = "no route" if count == 0 else f"{count} routes"
    return Failed("NoRoute" if count == 0 else "AmbiguousRoute", f"{what} has {said} with the name {name}")


def read_shares(rule: Rule) -> tuple[Split | None, str]:
    """Return the percent of each version as a proxy takes the weights, and what is wrong with them."""
    total = sum(each.weight for each in rule.destinations)
    foreign = [each.host for each in rule.destinations if not each.version and each.weight > 0]
    if total == 0:
        return None, "no destination has a weight"
    weights: dict[str, int] = {}
    for each in rule.destinations:
        if each.version:
            weights[each.version] = weights.get(each.version, 0) + each.weight
    complaint = f"{foreign[0]} is no version of it" if foreign else ""
    if total != EVERYTHING:
        complaint = complaint or f"the weights must add up to {EVERYTHING}, not {total}"
        weights = _percent(weights, total)
    return Split(weights, dict(rule.mirror)), complaint


def _percent(weights: Mapping[str, int], total: int) -> dict[str, int]:
    """Round shares to percent; what gets anything gets at least 1, and the rounding is the largest's."""
    shares = {version: max(round(EVERYTHING * weight / total), weight > 0) for version, weight in weights.items()}
    largest = max(shares, key=lambda version: shares[version], default="")
    if largest and sum(weights.values()) == total:
        shares[largest] += EVERYTHING - sum(shares.values())
    return {version: int(share) for version, share in shares.items()}
