"""The stored split, read from the router's ConfigMap, and the patches that change it: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelramp.adapters.kinds import EPOCH, FIELD_MANAGER, WHY, WRITTEN, Object
from modelramp.rollout.observation import Route, Split
from modelramp.router.render import CDS, RDS
from modelramp.router.split import KEY, Malformed, read_mirror, read_weights, retreat_weights
from modelramp.router.structure import Structure, read_structure

_WRITTEN = re.compile(r"(?P<mirror>mirror\.)?v(?P<version>[A-Za-z0-9-]+)=(?P<percent>\d{1,3})")


@dataclass(frozen=True, slots=True)
class Stored:
    """A ConfigMap as it was read, its structure parsed; None where that cannot be used."""

    config_map: Object
    structure: Structure | None
    complaint: str

    @property
    def data(self) -> Mapping[str, str]:
        """Return its data."""
        return self.config_map.get("data") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """Return its annotations."""
        return self.config_map["metadata"].get("annotations") or {}

    @property
    def versions(self) -> tuple[str, ...]:
        """Return the versions that its routes weigh."""
        return self.structure.routes.versions if self.structure else ()

    @property
    def epoch(self) -> int | None:
        """Return the leadership that wrote it last, None where nobody did."""
        text = self.annotations.get(EPOCH, "")
        return int(text) if text.isdecimal() else None


def parse(config_map: Object, known: Stored | None = None) -> Stored:
    """Return a ConfigMap with its structure.

    To read that takes milliseconds: it is taken from what is `known` of the same ConfigMap where the text is the same.
    """
    data = config_map.get("data") or {}
    if known is not None and is_structure(known, data):
        return replace(known, config_map=config_map)
    structure = read_structure(data)
    if isinstance(structure, Malformed):
        return Stored(config_map, None, structure.reason)
    return Stored(config_map, _without_texts(structure), "")


def _without_texts(structure: Structure) -> Structure:
    """Return a structure without its texts: the ConfigMap has them, and to keep both is kilobytes for each object."""
    return Structure(replace(structure.routes, text=""), replace(structure.clusters, text=""))


def read_route(stored: Stored, *, current: bool) -> Route:
    """Return the route as the core sees it; numbers that the router takes as a retreat are that retreat."""
    split, malformed = _read_split(stored)
    return Route(
        split=split,
        written=read_written(stored.annotations.get(WRITTEN, "")),
        backends=frozenset(stored.versions),
        author=find_author(stored.config_map["metadata"].get("managedFields") or ()),
        why=stored.annotations.get(WHY, ""),
        current=current and stored.structure is not None,
        malformed=malformed or stored.complaint,
    )


def _read_split(stored: Stored) -> tuple[Split | None, str]:
    """Return the split and what is wrong with the numbers; a retreat by hand counts in spite of a slip beside it."""
    versions = stored.versions if stored.structure else None
    strays = _strays(stored)
    numbers = {key: value for key, value in stored.data.items() if key not in strays}
    weights, mirror = read_weights(numbers, versions), read_mirror(numbers, versions)
    if isinstance(mirror, Malformed):
        return None, mirror.reason
    if not isinstance(weights, Malformed):
        return Split(weights, mirror), f"{strays[0]} names a version that has no route" if strays else ""
    stable = stored.structure.routes.stable if stored.structure else None
    retreat = retreat_weights(numbers, stored.versions, stable) if stable else weights
    return (None if isinstance(retreat, Malformed) else Split(retreat, mirror)), weights.reason


def _strays(stored: Stored) -> list[str]:
    """Return the keys whose version the routes do not know; the router takes no number while there is one."""
    if stored.structure is None:
        return []
    known = format_numbers(Split({}), stored.versions)
    return [key for key in stored.data if key.startswith(("weight.", "mirror.")) and key not in known]


def format_written(split: Split) -> str:
    """Return a split on one line, such as `v7=90,v8=10,mirror.v8=100`."""
    weights = [f"v{version}={percent}" for version, percent in sorted(split.weights.items(), key=_by_number)]
    mirror = [f"mirror.v{version}={percent}" for version, percent in sorted(split.mirror.items(), key=_by_number)]
    return ",".join(weights + mirror)


def read_written(text: str) -> Split | None:
    """Return the split that `format_written` wrote, None for anything else."""
    found = [_WRITTEN.fullmatch(part) for part in text.split(",")]
    weights = {each["version"]: int(each["percent"]) for each in found if each and not each["mirror"]}
    mirror = {each["version"]: int(each["percent"]) for each in found if each and each["mirror"]}
    return Split(weights, mirror) if all(found) else None


def _by_number(item: tuple[str, int]) -> tuple[int, str]:
    return len(item[0]), item[0]


def find_author(managed: Any) -> str:
    """Return who wrote a number last, and when; somebody else rather than us, for a number has one owner."""
    entries = [entry for entry in managed if any(_numbers(entry))]
    entries.sort(key=lambda entry: (entry.get("manager") != FIELD_MANAGER, entry.get("time", "")))
    return f"{entries[-1].get('manager')} at {entries[-1].get('time')}" if entries else ""


def _numbers(entry: Object) -> Iterator[str]:
    fields = (entry.get("fieldsV1") or {}).get("f:data") or {}
    return (key for key in fields if KEY.fullmatch(key.removeprefix("f:")))


def retreat_patch(stored: Stored, split: Split, why: str, epoch: int) -> list[Object] | None:
    """Return a JSON patch of the numbers alone, fenced by the epoch alone; None where it needs more than numbers.

    It holds no resourceVersion: whoever writes something else in between cannot stop it. A number of a version
    that the routes do not know is removed, for the router would not take the rest with it.
    """
    carried = {version for version, percent in (*split.weights.items(), *split.mirror.items()) if percent > 0}
    if stored.structure is None or not carried <= set(stored.versions) or EPOCH not in stored.annotations:
        return None
    numbers = format_numbers(split, stored.versions)
    marks = marks_of(split, why, epoch)
    return [
        {"op": "test", "path": _annotation(EPOCH), "value": stored.annotations[EPOCH]},
        *({"op": "add", "path": f"/data/{key}", "value": value} for key, value in numbers.items()),
        *({"op": "remove", "path": f"/data/{_escaped(key)}"} for key in _strays(stored)),
        *({"op": "add", "path": _annotation(key), "value": value} for key, value in marks.items()),
    ]


def merge_patch(stored: Stored, wanted: Object) -> Object | None:
    """Return a merge patch, good only for what was read, from `stored` to `wanted`; None when nothing differs.

    `wanted` is the whole ConfigMap as we would create it. What is not ours stays.
    """
    data = {key: value for key, value in wanted["data"].items() if stored.data.get(key) != value}
    gone = {key: None for key in stored.data if key.startswith(("weight.", "mirror.")) and key not in wanted["data"]}
    metadata = _changed_metadata(stored.config_map["metadata"], wanted["metadata"])
    if not data and not gone and not metadata:
        return None
    fence = {"uid": stored.config_map["metadata"]["uid"]}
    fence["resourceVersion"] = stored.config_map["metadata"]["resourceVersion"]
    return {"metadata": {**metadata, **fence}, "data": {**data, **gone}}


def _changed_metadata(live: Object, wanted: Object) -> dict[str, Any]:
    changed = {
        field: {key: value for key, value in wanted[field].items() if (live.get(field) or {}).get(key) != value}
        for field in ("labels", "annotations")
    }
    if set(changed["annotations"]) == {WHY}:  # the same split for another reason is no news
        changed["annotations"] = {}
    owners = list(live.get("ownerReferences") or ())
    missing = [owner for owner in wanted["ownerReferences"] if owner["uid"] not in {each["uid"] for each in owners}]
    kept: dict[str, Any] = {field: values for field, values in changed.items() if values}
    return kept | ({"ownerReferences": owners + missing} if missing else {})


def format_numbers(split: Split, versions: tuple[str, ...]) -> dict[str, str]:
    """Return the scalar keys of a split over all the versions of a route."""
    weights = {f"weight.v{version}": str(split.weight(version)) for version in versions}
    return weights | {f"mirror.v{version}": str(split.mirror.get(version, 0)) for version in versions}


def marks_of(split: Split, why: str, epoch: int) -> dict[str, str]:
    """Return the annotations that say what we wrote, why, and under which leadership."""
    return {EPOCH: str(epoch), WRITTEN: format_written(split), WHY: why[:1024]}


def is_structure(stored: Stored, data: Mapping[str, str]) -> bool:
    """Tell whether routes and clusters are, to the letter, those of `data`."""
    return all(stored.data.get(key) == data.get(key) for key in (RDS, CDS))


def _annotation(key: str) -> str:
    return f"/metadata/annotations/{_escaped(key)}"


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
