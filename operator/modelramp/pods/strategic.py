"""Kubernetes' strategic merge, for pod templates: maps merge, lists of named things merge by their key, others replace.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md;
the keys are the `patchMergeKey` tags of core/v1. null removes a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
PATCH, RETAIN = "$patch", "$retainKeys"
_WAYS = ("merge", "replace", "delete")

Fault = tuple[str, str]
"""The path of a field, and what is wrong with it."""


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `patch` merged into it; `patch` has no `faults`. Neither is changed."""
    said = {key: value for key, value in patch.items() if key not in (PATCH, RETAIN)}
    if patch.get(PATCH) == "delete":
        return {}
    kept = {} if patch.get(PATCH) == "replace" else _retained(base, patch)
    merged = {key: value for key, value in kept.items() if not (key in said and said[key] is None)}
    return merged | {key: _merged(key, kept.get(key), value) for key, value in said.items() if value is not None}


def _retained(base: Mapping[str, Any], patch: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in base.items() if key in patch[RETAIN]} if RETAIN in patch else base


def _merged(field: str, base: Any, patch: Any) -> Any:
    match patch:
        case dict():
            return merge(base if isinstance(base, Mapping) else {}, patch)
        case list() if field in KEYS:
            return _merged_list(KEYS[field], base if isinstance(base, list) else [], patch)
        case _:
            return patch


def replaces(items: list[Any]) -> bool:
    """Tell whether a list stands instead of the one before: one item that says so speaks for all."""
    return any(isinstance(item, Mapping) and item.get(PATCH) == "replace" for item in items)


def _merged_list(key: str, base: list[Any], patch: list[Any]) -> list[Any]:
    if replaces(patch):
        return [merge({}, item) for item in patch if PATCH not in item]
    known, said = base, {item[key]: item for item in patch}
    gone = {name for name, item in said.items() if item.get(PATCH) == "delete"}
    kept = [merge(item, said.get(item[key], {})) for item in known if item[key] not in gone]
    there = {item[key] for item in known}
    return kept + [merge({}, item) for name, item in said.items() if name not in there | gone]


def faults(patch: Any, path: str = "") -> Iterator[Fault]:
    """Yield what keeps a patch from being merged: lists of named things without names, unknown directives."""
    for field, value in patch.items() if isinstance(patch, dict) else ():
        at = f"{path}.{field}"
        if field.startswith("$"):
            yield from _directive_faults(at, field, value)
        elif field in KEYS and isinstance(value, list):  # a label may have such a name too
            yield from _list_faults(KEYS[field], value, at)
        else:
            yield from faults(value, at)


def _directive_faults(at: str, field: str, value: Any) -> Iterator[Fault]:
    match field:
        case "$patch" if value not in _WAYS:
            yield at, f"must be one of {', '.join(_WAYS)}"
        case "$retainKeys" if not isinstance(value, list):
            yield at, "must be the list of the fields to keep"
        case "$patch" | "$retainKeys":
            return
        case _:
            yield at, f"is no directive; there are {PATCH} and {RETAIN}"


def _list_faults(key: str, items: list[Any], path: str) -> Iterator[Fault]:
    seen: set[Any] = set()
    for index, item in enumerate(items):
        at = f"{path}[{index}]"
        if isinstance(item, dict) and item.get(PATCH) == "replace":
            continue
        if not isinstance(item, dict) or not isinstance(item.get(key), str | int):
            yield at, f"needs {key}, by which it is merged"
            continue
        if item[key] in seen:
            yield f"{at}.{key}", f"{item[key]!r} is here twice"
        seen.add(item[key])
        yield from faults(item, at)
