"""A snapshot's plain values as the core's model version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelramp.adapters.mlflow_signature import MalformedSignatureError, read_signature
from modelramp.rollout.observation import Dataset, Metric, ModelVersion, TrainingRun
from modelramp.rollout.signature import Signature


def model_version(found: Mapping[str, Any], tree: Mapping[str, Any] | None) -> ModelVersion:
    """Return the version; `tree` is its files, or None where only the snapshot was read, with its signature."""
    signature, fault = _signature((tree or found)["signature"])
    return ModelVersion(
        name=found["name"],
        version=found["version"],
        run_id=found["run_id"],
        source=found["source"],
        created=found["created"],
        status=found["status"],
        digest=tree["digest"] if tree else "",
        signature=signature,
        metrics=tuple(Metric(*metric) for metric in found["metrics"]),
        tags=found["tags"],
        run=_run(found["run"]) if found["run"] else None,
        description=found["description"],
        files=tuple(tree["files"]) if tree else (),
        signature_fault=fault,
    )


def _signature(logged: Any) -> tuple[Signature | None, str]:
    try:
        return read_signature(logged), ""
    except MalformedSignatureError as fault:
        return None, f"{fault}; log it with `signature=infer_signature(...)`"


def _run(run: Mapping[str, Any]) -> TrainingRun:
    return TrainingRun(**{**run, "datasets": tuple(Dataset(**each) for each in run["datasets"])})
