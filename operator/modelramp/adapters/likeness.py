"""Tell whether a live object still has what was asked for."""

from __future__ import annotations

from typing import Any

from modelramp.api.quantities import parse_quantity

_WHOLE = ("selector", "nodeSelector", "matchLabels")
"""One key more is another meaning."""


def carries(live: Any, wanted: Any) -> bool:
    """Tell whether everything in `wanted` is in `live`, which has defaults and other people's fields besides.

    Lists of named things are compared by name, other lists item by item; quantities by their amount.
    """
    match wanted:
        case dict():
            return isinstance(live, dict) and all(_carries_field(live, key, value) for key, value in wanted.items())
        case list():
            return isinstance(live, list) and _carries_items(live, wanted)
        case _:
            return bool(live == wanted) or parse_quantity(live) == parse_quantity(wanted) is not None


def _carries_field(live: dict[str, Any], key: str, value: Any) -> bool:
    if key in _WHOLE and isinstance(value, dict) and isinstance(live.get(key), dict) and live[key].keys() - value:
        return False
    # The API server leaves out what is empty.
    return carries(live.get(key), value) or (value in ({}, [], None) and not live.get(key))


def _carries_items(live: list[Any], wanted: list[Any]) -> bool:
    if all(isinstance(item, dict) and "name" in item for item in (*live, *wanted)):
        by_name = {item["name"]: item for item in live}
        return all(carries(by_name.get(item["name"]), item) for item in wanted)
    return len(live) == len(wanted) and all(map(carries, live, wanted))
