"""The same accounts as JSON, for scripts: records as `docs/reference/records.md` describes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelramp.account import Story, concerning, grounds, reproduce, today
from modelramp.adapters.mlflow_story import Origin, why_not
from modelramp.api.codec import dump
from modelramp.rollout.observation import Reading, Value


def history_json(story: Story) -> str:
    """Return every record."""
    return _printed(story, {"records": dump(story.records)})


def why_json(story: Story) -> str:
    """Return the version that serves, and the records that say why; null where there is none."""
    status = story.subject.status
    serves = status.stable.version if status.stable else None
    found = grounds(story.records, serves) if serves else None
    told: dict[str, Any] = {"serves": serves, "reason": status.reason, "message": status.message}
    told |= {name: dump(getattr(found, name, None)) for name in ("since", "proof", "gates")}
    return _printed(story, told | {"rehearsed": dump(status.rehearsed), "rejected": dump(status.rejected)})


def story_json(story: Story, version: str, origin: Reading[Origin]) -> str:
    """Return one version's life: where it comes from, its records, what it is today, how to train it again."""
    found = {"origin": _origin(origin.value)} if isinstance(origin, Value) else {"originMissing": why_not(origin)}
    again = [line.strip() for line in reproduce(origin)] if isinstance(origin, Value) and origin.value.commit else []
    told = {"version": version, **found, "records": dump(tuple(concerning(story.records, version)))}
    return _printed(story, told | {"today": today(story.subject, version), "reproduce": again})


def _origin(found: Origin) -> Mapping[str, Any]:
    metrics = {key: value if math.isfinite(value) else str(value) for key, value in found.metrics.items()}
    return {**dump(replace(found, metrics={})), "metrics": metrics}


def _printed(story: Story, told: Mapping[str, Any]) -> str:
    ref = story.subject.ref
    whose = {"namespace": ref.namespace, "name": ref.name}
    lacking = {"missing": story.missing, "lost": list(story.lost)}
    shown = {"deployment": whose, **told, **{key: value for key, value in lacking.items() if value}}
    return json.dumps(shown, indent=1, allow_nan=False) + "\n"
