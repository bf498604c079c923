"""Patches of an object that others own too: the numbers of one rule, and nothing beside them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelramp.adapters.dialect import Dialect, Operations, Rule, read_shares
from modelramp.adapters.kinds import FIELD_MANAGER, GROUP, STEERED, Object
from modelramp.adapters.route import format_written, read_written
from modelramp.ports import Ref
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Failed, Route

LONGEST_WHY = 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read, and the rule in it that is steered."""

    obj: Object
    rule: Rule

    def mark(self, key: str) -> str | None:
        """Return an annotation, None where there is none."""
        found = (self.obj["metadata"].get("annotations") or {}).get(key)
        return None if found is None else str(found)


@dataclass(frozen=True, slots=True)
class Marks:
    """The annotations that a ModelDeployment leaves: several may steer rules of one object."""

    epoch: str
    written: str
    why: str


def marks_of(ref: Ref) -> Marks:
    """Return the annotations' keys."""
    return Marks(*(f"{ref.name}.{GROUP}/{mark}" for mark in ("epoch", "written", "why")))


def epoch_of(ref: Ref, stored: Stored) -> int | None:
    """Return the leadership that wrote last, None where nobody did."""
    text = stored.mark(marks_of(ref).epoch) or ""
    return int(text) if text.isdecimal() else None


def read_route(dialect: Dialect, ref: Ref, stored: Stored, *, current: bool) -> Route:
    """Return the route as the core sees it."""
    marks = marks_of(ref)
    split, malformed = read_shares(stored.rule)
    return Route(
        split=split,
        written=read_written(stored.mark(marks.written) or ""),
        backends=frozenset(stored.rule.versions),
        author=_find_author(dialect, stored.obj),
        why=stored.mark(marks.why) or "",
        current=current,
        malformed=malformed,
    )


def _find_author(dialect: Dialect, obj: Object) -> str:
    """Return who wrote the rules last, and when: a list has one owner."""
    managed = obj["metadata"].get("managedFields") or ()
    field = f"f:{dialect.rules_field}"
    entries = [each for each in managed if field in ((each.get("fieldsV1") or {}).get("f:spec") or {})]
    entries.sort(key=lambda entry: (entry.get("manager") != FIELD_MANAGER, entry.get("time", "")))
    return f"{entries[-1].get('manager')} at {entries[-1].get('time')}" if entries else ""


def retreat_patch(
    dialect: Dialect, ref: Ref, stored: Stored, wanted: SetTraffic, epoch: int
) -> Operations | Failed | None:
    """Return a patch of the numbers alone; None where it needs more than numbers.

    It tests the structure and the epoch, and nothing that others may write in between.
    """
    rule, split = stored.rule, wanted.split
    carried = {version for version, percent in (*split.weights.items(), *split.mirror.items()) if percent > 0}
    if not carried <= set(rule.versions):
        return None
    mirror = dialect.mirror_patch(ref, rule, split.mirror)
    if isinstance(mirror, Failed):
        return mirror
    at = f"{rule.pointer}/{dialect.destinations_field}"
    hosts = [
        {"op": "test", "path": f"{at}/{index}{dialect.host_pointer}", "value": each.host}
        for index, each in enumerate(rule.destinations)
    ]
    weights = [
        {"op": "add", "path": f"{at}/{index}/weight", "value": split.weight(each.version) if each.version else 0}
        for index, each in enumerate(rule.destinations)
    ]
    return [*_fence(ref, stored), *_name(rule), *hosts, *weights, *mirror, *_signature(ref, stored, wanted, epoch)]


def at_each_place(dialect: Dialect, stored: Stored) -> list[Stored]:
    """Return the object as if the rule stood at each place of the list, where it was read first.

    A JSON patch names a rule by its index. Of patches for all places, each with a test of the name, one holds wherever
    the rule has moved to since it was read.
    """
    if not stored.rule.raw.get("name"):
        return [stored]
    rules = stored.obj["spec"][dialect.rules_field]
    pointers = [f"/spec/{dialect.rules_field}/{index}" for index in range(len(rules))]
    pointers.sort(key=lambda pointer: pointer != stored.rule.pointer)
    return [replace(stored, rule=replace(stored.rule, pointer=pointer)) for pointer in pointers]


def progress_patch(
    dialect: Dialect, ref: Ref, stored: Stored, wanted: SetTraffic, epoch: int
) -> Operations | Failed | None:
    """Return a patch to all that is wanted of a rule, good only while the rule is as it was read.

    None where nothing differs; the same split for another reason is no news.
    """
    rule = stored.rule
    mirror = dialect.mirror_patch(ref, rule, wanted.split.mirror)
    if isinstance(mirror, Failed):
        return mirror
    changes = [*_destinations_patch(dialect, ref, rule, wanted), *mirror]
    if not changes and _is_signed(ref, stored, wanted, epoch):
        return None
    guard = {"op": "test", "path": rule.pointer, "value": rule.raw}
    return [*_fence(ref, stored), guard, *changes, *_signature(ref, stored, wanted, epoch)]


def _destinations_patch(dialect: Dialect, ref: Ref, rule: Rule, wanted: SetTraffic) -> Operations:
    at = f"{rule.pointer}/{dialect.destinations_field}"
    entries = destinations(dialect, ref, rule, wanted)
    stored = [each.entry for each in rule.destinations]
    read = [dialect.read_destination(ref, entry, len(entries) == 1) for entry in entries]
    if [each.host for each in read] != [each.host for each in rule.destinations]:
        return [{"op": "add", "path": at, "value": entries}]
    changed = (index for index, each in enumerate(read) if each.weight != rule.destinations[index].weight)
    return [
        {"op": "add", "path": f"{at}/{index}/weight", "value": entries[index]["weight"]}
        for index in changed
        if entries[index] != stored[index]
    ]


def destinations(dialect: Dialect, ref: Ref, rule: Rule | None, wanted: SetTraffic) -> list[Object]:
    """Return the destinations that are wanted, in the order that is stored; what is not ours stays, without weight.

    Raises ValueError for a candidate that would be alone: a lone destination gets everything, whatever its weight.
    """
    present = rule.destinations if rule else ()
    named = {each.version: each.entry for each in present if each.version}
    if wanted.stable not in wanted.backends:
        raise ValueError(f"backends: {wanted.backends} must name the stable version {wanted.stable}")
    like = named.get(wanted.stable) or next(iter(named.values()), None)
    kept = [
        {**each.entry, "weight": wanted.split.weight(each.version) if each.version else 0}
        for each in present
        if not each.version or each.version in wanted.backends
    ]
    missing = [each for each in wanted.backends if each not in named]
    return [
        *kept,
        *(dialect.make_destination(ref, each, wanted.split.weight(each), like) for each in missing),
    ]


def _fence(ref: Ref, stored: Stored) -> Operations:
    """Test that the object still opts in, and that no later leader has written."""
    annotations = stored.obj["metadata"].get("annotations")
    opted = {"op": "test", "path": f"/metadata/labels/{_escaped(STEERED)}", "value": "true"}
    if annotations is None:
        return [opted, {"op": "test", "path": "/metadata/annotations", "value": None}]
    epoch = marks_of(ref).epoch
    return [opted, {"op": "test", "path": _annotation(epoch), "value": stored.mark(epoch)}]


def _name(rule: Rule) -> Operations:
    name = rule.raw.get("name")
    return [{"op": "test", "path": f"{rule.pointer}/name", "value": name}] if name else []


def signature(ref: Ref, wanted: SetTraffic, epoch: int) -> dict[str, str]:
    """Return the annotations that say what we wrote, why, and under which leadership."""
    marks = marks_of(ref)
    return {
        marks.epoch: str(epoch),
        marks.written: format_written(wanted.split),
        marks.why: wanted.why[:LONGEST_WHY],
    }


def _signature(ref: Ref, stored: Stored, wanted: SetTraffic, epoch: int) -> Operations:
    signed: Mapping[str, Any] = signature(ref, wanted, epoch)
    if stored.obj["metadata"].get("annotations") is None:
        return [{"op": "add", "path": "/metadata/annotations", "value": signed}]
    return [{"op": "add", "path": _annotation(key), "value": value} for key, value in signed.items()]


def _is_signed(ref: Ref, stored: Stored, wanted: SetTraffic, epoch: int) -> bool:
    signed, why = signature(ref, wanted, epoch), marks_of(ref).why
    return all(stored.mark(key) == value for key, value in signed.items() if key != why)


def _annotation(key: str) -> str:
    return f"/metadata/annotations/{_escaped(key)}"


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
