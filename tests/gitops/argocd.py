"""Argo CD's side: its Lua on objects as it calls it, and the patch that it sends for an action.

As in Argo CD, scripts get the base and table libraries and, by `require`, the time of `os`; no string, math or io.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from lupa.lua51 import LuaRuntime, lua_type

EXAMPLE = Path(__file__).parents[2] / "examples" / "04-gitops"
_KEY = "resource.customizations.{}.modelramp.dev_ModelDeployment"
_SANDBOX = """
local time, date = os.time, os.date
package.loaded.os = nil
package.preload.os = function() return {time = time, date = date} end
getmetatable("").__index = nil
string, math, io, os, debug, coroutine = nil, nil, nil, nil, nil, nil
"""


@cache
def customizations() -> tuple[str, Mapping[str, Any]]:
    """Return what the example puts into argocd-cm: the script of the health, and the actions."""
    data = yaml.safe_load((EXAMPLE / "argocd-cm.yaml").read_text())["data"]
    return data[_KEY.format("health")], yaml.safe_load(data[_KEY.format("actions")])


def health(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return Argo CD's health of an object: status and message."""
    return dict(_run(customizations()[0], obj))


def discover(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the names that the buttons show, of those that can be pressed."""
    found = _run(customizations()[1]["discovery.lua"], obj)
    return {name: entry["displayName"] for name, entry in found.items() if not entry["disabled"]}


def press(action: str, obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that Argo CD sends for an action."""
    (script,) = (each["action.lua"] for each in customizations()[1]["definitions"] if each["name"] == action)
    return merge_patch(obj, _run(script, obj))


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a JSON merge patch has to say to make one into the other."""
    changes: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            changes |= {key: inner} if (inner := merge_patch(old, value)) else {}
        elif old != value:
            changes[key] = value
    return changes


def _run(script: str, obj: Mapping[str, Any]) -> Any:
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.execute(_SANDBOX)
    lua.globals()["obj"] = lua.table_from(_without_null(obj), recursive=True)
    return _plain(lua.execute(script), obj)


def _without_null(value: Any) -> Any:
    match value:
        case Mapping():
            return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
        case list():
            return [_without_null(inner) for inner in value]
        case _:
            return copy.copy(value)


def _plain(value: Any, before: Any) -> Any:
    """Return a Lua value as JSON; an empty table is what it was before, as Argo CD mends it."""
    if lua_type(value) != "table":
        return int(value) if isinstance(value, float) and value.is_integer() else value
    keys = list(value)
    if not keys:
        return before if before in ({}, []) else []
    if all(isinstance(key, int) for key in keys):
        known = before if isinstance(before, list) else []
        return [_plain(value[key], known[key - 1] if key <= len(known) else None) for key in sorted(keys)]
    known = before if isinstance(before, Mapping) else {}
    return {key: _plain(value[key], known.get(key)) for key in keys}
