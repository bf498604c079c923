"""The pod template that a Deployment was applied with, kept with the Deployment.

A newer operator renders other pods for the same spec. What runs keeps the template that it has: this is where the
newer operator finds it, to tell it from what a hand changed, and to put it back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from modelramp.adapters.kinds import APPLIED, ASKED, TEMPLATE, Object
from modelramp.adapters.likeness import carries


def hash_of(*values: Any) -> str:
    """Return a short hash of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def stamped(deployment: Object, asked: str) -> dict[str, Any]:
    """Return a Deployment with its template's hash and text, and the hash of what was asked for."""
    template = deployment["spec"]["template"]
    stamps = {TEMPLATE: hash_of(template), ASKED: asked, APPLIED: _packed(template)}
    metadata = deployment["metadata"]
    return {**deployment, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **stamps}}}


def with_template(deployment: Object, template: Object) -> dict[str, Any]:
    """Return a stamped Deployment with another template, for the same wishes."""
    changed = {**deployment, "spec": {**deployment["spec"], "template": template}}
    return stamped(changed, marks(deployment)[ASKED])


def applied_template(deployment: Object) -> dict[str, Any] | None:
    """Return the template that a live Deployment was applied with, None where it does not say so, or not well."""
    stamps = marks(deployment)
    try:
        template = json.loads(zlib.decompress(base64.b64decode(stamps.get(APPLIED, ""), validate=True)))
    except (ValueError, zlib.error):
        return None
    return template if isinstance(template, dict) and hash_of(template) == stamps.get(TEMPLATE) else None


def is_intact(deployment: Object) -> bool:
    """Tell whether a live Deployment's pods are made as it was applied last."""
    template = applied_template(deployment)
    return template is not None and carries(deployment["spec"]["template"], template)


def marks(obj: Object) -> Mapping[str, str]:
    """Return an object's annotations."""
    return obj["metadata"].get("annotations") or {}


def _packed(template: Object) -> str:
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
