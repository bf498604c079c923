"""What is left when all is settled, without what may differ between two runs of the same story: times and names."""

from __future__ import annotations

import re
from difflib import unified_diff
from typing import Any

from modelramp.adapters.kinds import CONFIG_MAP, DEPLOYMENT, EPOCH, FINALIZER, MODEL_DEPLOYMENT, NAME, SERVICE
from modelramp.ports import Ref
from tests.whole.admin import Admin
from tests.whole.observer import Trace

_VERDICTS = ("guardrails", "GuardrailsHealthy")
"""What guardrails said last: kept in memory, written with the next change."""
_TIMES = ("at", "since", "startedAt", "phaseSince", "settledAt", "lastTransitionTime", "countedFrom")
_STAGE = ("hold", "requests")
_MEASURED = ("value", "baseline", "verdict", "reason", "message", "samples", "failures")
"""What a record found; that it looked is the same in every run."""
_MADE_UP = re.compile(
    r"""
    retreat\ \d-[0-9a-f]{6}\ |                    # a retreat's signature, which a later write of the same split drops
    (?<=\b\d-)[0-9a-f]{6}\b |                    # an attempt's id
    (?<=version_info:\ )'?[0-9a-f]{12}\b'? |     # digests of our names, in quotes where they look like numbers
    (?<=\b1:)[0-9a-f]{16}\b |
    \b\d{8}T\d{6}\.\d{6}Z(?=-)                  # a record's time
    """,
    re.VERBOSE,
)


async def end_state(admin: Admin, trace: Trace, ref: Ref) -> dict[str, Any]:
    """Return the object's status, its route, its workloads and the Events about it, comparable between runs."""
    model = await admin.get(MODEL_DEPLOYMENT, ref.namespace, ref.name)
    config_map = await admin.get(CONFIG_MAP, ref.namespace, f"{ref.name}-traffic")
    owned = [
        item
        for kind in (DEPLOYMENT, SERVICE)
        for item in (await admin.list(kind, ref.namespace, f"{NAME}={ref.name}"))[0]
    ]
    marks = {key: value for key, value in config_map["metadata"]["annotations"].items() if key != EPOCH}
    found = {
        "status": model["status"],
        "claimed": FINALIZER in model["metadata"]["finalizers"],
        "route": {"data": config_map["data"], "marks": marks},
        "owned": sorted(f"{item['metadata']['name']} {item['spec'].get('replicas')}" for item in owned),
        "events": sorted(f"{reason}: {note}" for reason, note in trace.events(ref)),
    }
    comparable: dict[str, Any] = _plain(found, ref)
    return comparable


def _plain(value: Any, ref: Ref) -> Any:
    match value:
        case {"check": _}:
            return {key: _plain(item, ref) for key, item in value.items() if key not in _MEASURED}
        case dict():
            return {key: _plain(item, ref) for key, item in value.items() if key not in (*_TIMES, *_VERDICTS)}
        case list():
            kept = [item for item in value if not (isinstance(item, dict) and _is_chance(item))]
            return [_plain(item, ref) for item in kept]
        case str():
            return _MADE_UP.sub("", value.replace(ref.namespace, "NAMESPACE"))
        case _:
            return value


def _is_chance(item: dict[str, Any]) -> bool:
    """Tell what one run has and another has not: a breach may be judged before or after the split is seen."""
    return item.get("type") in _VERDICTS or item.get("check") in _STAGE


def differences(found: Any, expected: Any, path: str = "") -> list[str]:
    """Return where two states differ, one line for each place."""
    match found, expected:
        case dict(), dict():
            keys = sorted(found.keys() | expected.keys())
            each = [differences(found.get(key), expected.get(key), f"{path}.{key}") for key in keys]
        case list(), list() if len(found) == len(expected):
            pairs = enumerate(zip(found, expected, strict=True))
            each = [differences(one, other, f"{path}[{index}]") for index, (one, other) in pairs]
        case str(), str() if found != expected and "\n" in found:
            changed = unified_diff(expected.splitlines(), found.splitlines(), lineterm="", n=0)
            return [f"{path}: {' | '.join(changed)}"]
        case _:
            same = found == expected
            return [] if same else [f"{path}: is {str(found)[-300:]!r}, not {str(expected)[-300:]!r}"]
    return [line for lines in each for line in lines]
