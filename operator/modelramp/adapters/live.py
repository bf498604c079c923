"""Tell whether a live object still carries what was rendered for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from decimal import Decimal, InvalidOperation
from typing import Any

from modelramp.adapters.kinds import TEMPLATE, Object
from modelramp.adapters.slim import full_spec

REMEMBERED = 8192
_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
}  # fmt: skip


class Conformity:
    """Judges Deployments from the store against what is rendered for them, each once until either side changes."""

    def __init__(self) -> None:
        self._judged: OrderedDict[str, tuple[str, Hashable, bool]] = OrderedDict()

    def holds(self, live: Object, asked: Hashable, render: Callable[[], Object]) -> bool:
        """Tell whether `live` is what `render` returns; `asked` is all that `render` depends on."""
        uid, version = live["metadata"]["uid"], live["metadata"]["resourceVersion"]
        known = self._judged.get(uid)
        if known is None or (known[0], known[1]) != (version, asked):
            wanted = render()
            same = _stamp(live) == _stamp(wanted) and carries(full_spec(live), wanted["spec"])
            known = self._judged[uid] = (version, asked, same)
            if len(self._judged) > REMEMBERED:
                self._judged.popitem(last=False)
        return known[2]


def _stamp(obj: Object) -> Any:
    return (obj["metadata"].get("annotations") or {}).get(TEMPLATE)


def carries(live: Any, wanted: Any) -> bool:
    """Tell whether everything in `wanted` is in `live`, which has defaults and other people's fields besides.

    Lists of named things are compared by name, other lists item by item; quantities by their amount.
    """
    match wanted:
        case dict():
            return isinstance(live, dict) and all(carries(live.get(key), value) for key, value in wanted.items())
        case list():
            return isinstance(live, list) and _carries_items(live, wanted)
        case _:
            return bool(live == wanted) or _amount(live) == _amount(wanted) is not None


def _carries_items(live: list[Any], wanted: list[Any]) -> bool:
    if all(isinstance(item, dict) and "name" in item for item in (*live, *wanted)):
        by_name = {item["name"]: item for item in live}
        return all(carries(by_name.get(item["name"]), item) for item in wanted)
    return len(live) == len(wanted) and all(map(carries, live, wanted))


def _amount(quantity: Any) -> Decimal | None:
    text = str(quantity)
    number = text.rstrip("numkMGTPi")
    try:
        return Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return None
