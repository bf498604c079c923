"""What the watches have brought: the newest version of each object, in memory. Does no I/O."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterable

from modelramp.adapters.claims import claim_of
from modelramp.adapters.kinds import CONFIG_MAP, DESTINATION_RULE, MODEL_DEPLOYMENT, NAME, VIRTUAL_SERVICE, Kind, Object
from modelramp.adapters.slim import is_news, slim
from modelramp.ports import Ref

Key = tuple[str, str, str]
"""Kind, namespace, name."""

TOMBSTONES = 4096


class Store:
    """Objects by kind, namespace and name, and by the ModelDeployment that they belong to.

    An object only ever gets newer: an answer that comes late, or a watch that replays, changes nothing.
    """

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._members: dict[tuple[str, Ref], set[Key]] = defaultdict(set)
        self._complete: set[str] = set()
        self._buried: OrderedDict[Key, str] = OrderedDict()
        self._claimants: dict[Key, set[Ref]] = defaultdict(set)
        self.claimed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By kind: set once a ModelDeployment has claimed an object of it."""

    def put(self, kind: Kind, obj: Object) -> frozenset[Ref]:
        """Take in an object and return whom to wake: nobody when it is no news."""
        key = _key(kind, obj)
        known = self._objects.get(key)
        seen = known["metadata"]["resourceVersion"] if known else self._buried.get(key)
        version = obj["metadata"]["resourceVersion"]
        if seen is not None and (version == seen or is_older(version, seen)):
            return frozenset()
        if known:
            self._forget(key)
        slimmed = self._objects[key] = slim(kind, obj)
        if ref := owner(kind, obj):
            self._members[kind.name, ref].add(key)
        for claim in _claimed(key, obj):
            self._claimants[claim].add(Ref(key[1], key[2]))
            self.claimed[claim[0]].set()
        return self._concerned(key, ref) if known is None or is_news(kind, known, slimmed) else frozenset()

    def drop(self, kind: Kind, obj: Object) -> frozenset[Ref]:
        """Take out an object that was deleted and return whom to wake: nobody when it is no news."""
        key = _key(kind, obj)
        known = self._objects.get(key)
        version = obj["metadata"]["resourceVersion"]
        seen = known["metadata"]["resourceVersion"] if known else self._buried.get(key)
        if seen is not None and is_older(version, seen):
            return frozenset()
        return self._remove(key, version)

    def replace_all(self, kind: Kind, objects: Iterable[Object], resource_version: str) -> frozenset[Ref]:
        """Take in a whole LIST of `resource_version`; what it lacks is gone, unless it is newer than the list."""
        listed = {_key(kind, obj): obj for obj in objects}
        gone = [
            key
            for key, known in self._objects.items()
            if key[0] == kind.name
            and key not in listed
            and not is_older(resource_version, known["metadata"]["resourceVersion"])
        ]
        removed = [self._remove(key, resource_version) for key in gone]
        woken = [self.put(kind, obj) for obj in listed.values()]
        self._complete.add(kind.name)
        return frozenset().union(*removed, *woken)

    def is_complete(self, kind: Kind) -> bool:
        """Tell whether what is not here does not exist, as far as the watches know."""
        return kind.name in self._complete

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object, None when it is not known."""
        return self._objects.get((kind.name, namespace, name))

    def members(self, kind: Kind, ref: Ref) -> list[Object]:
        """Return the objects of a kind that belong to a ModelDeployment, by name."""
        return [self._objects[key] for key in sorted(self._members.get((kind.name, ref), ()))]

    def claimants(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        """Return the ModelDeployments that steer an object, by name."""
        refs = self._claimants.get((kind.name, namespace, name), ())
        found = (self.get(MODEL_DEPLOYMENT, ref.namespace, ref.name) for ref in sorted(refs, key=str))
        return [each for each in found if each]

    def refs(self) -> list[Ref]:
        """Return every ModelDeployment that is known."""
        return [Ref(namespace, name) for kind, namespace, name in self._objects if kind == MODEL_DEPLOYMENT.name]

    def _concerned(self, key: Key, ref: Ref | None) -> frozenset[Ref]:
        """Return whom news of an object concerns: whose it is, and who steers it."""
        return frozenset((*((ref,) if ref else ()), *self._claimants.get(key, ())))

    def _forget(self, key: Key) -> Ref | None:
        known = self._objects.pop(key)
        ref = owner_of(key[0], known)
        for claim in _claimed(key, known):
            self._claimants[claim].discard(Ref(key[1], key[2]))
        if ref and (members := self._members.get((key[0], ref))):
            members.discard(key)
            if not members:
                del self._members[key[0], ref]
        return ref

    def _remove(self, key: Key, version: str) -> frozenset[Ref]:
        """Forget an object, but not that `version` was its end: what is older may still arrive."""
        self._buried[key] = version
        self._buried.move_to_end(key)
        while len(self._buried) > TOMBSTONES:
            self._buried.popitem(last=False)
        return self._concerned(key, self._forget(key)) if key in self._objects else frozenset()


def is_older(version: str, than: str) -> bool:
    """Compare resource versions as far as that is possible: etcd's are numbers, of any other nothing is known."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def owner(kind: Kind, obj: Object) -> Ref | None:
    """Return the ModelDeployment that an object belongs to."""
    return owner_of(kind.name, obj)


def owner_of(kind: str, obj: Object) -> Ref | None:
    """Return the ModelDeployment that an object of this kind belongs to: itself, or by its label."""
    metadata = obj["metadata"]
    name = metadata["name"] if kind == MODEL_DEPLOYMENT.name else (metadata.get("labels") or {}).get(NAME)
    return Ref(metadata["namespace"], name) if name else None


def _claimed(key: Key, obj: Object) -> tuple[Key, ...]:
    """Return the objects that concern a ModelDeployment without being its own: what it steers, its policy."""
    if key[0] != MODEL_DEPLOYMENT.name:
        return ()
    claim, policy = claim_of(obj), (obj.get("spec") or {}).get("policy") or {}
    kinds = (claim.kind, *((DESTINATION_RULE,) if claim.kind is VIRTUAL_SERVICE else ())) if claim else ()
    steered = tuple((kind.name, key[1], claim.name) for kind in kinds if claim)
    return (*steered, (CONFIG_MAP.name, key[1], policy["configMap"])) if policy.get("configMap") else steered


def _key(kind: Kind, obj: Object) -> Key:
    return kind.name, obj["metadata"]["namespace"], obj["metadata"]["name"]
