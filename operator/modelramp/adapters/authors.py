"""Who wrote the fields of a spec, out of what the API server knows: the field managers' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MANAGERS = "managers"
"""Where the store keeps them, in the metadata in place of `managedFields`, which are often larger than the object."""
FIELDS = ("model.version", "abort", "approve", "paused", "retry", "drill", "gates.overrides")
"""The fields of which somebody may want to know who set them."""


def spec_managers(managed: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the newest manager of each field by its path, and of any field of the spec at the path `""`."""
    found: dict[str, str] = {}
    for entry in sorted(managed, key=lambda entry: str(entry.get("time") or "")):
        owned = (entry.get("fieldsV1") or {}).get("f:spec")
        if owned is None or entry.get("subresource"):
            continue
        manager = str(entry.get("manager") or "")
        found |= {path: manager for path in FIELDS if _owns(owned, path)} | {"": manager}
    return found


def _owns(owned: Mapping[str, Any], path: str) -> bool:
    here: Any = owned
    for part in path.split("."):
        here = here.get(f"f:{part}") if isinstance(here, Mapping) else None
    return here is not None
