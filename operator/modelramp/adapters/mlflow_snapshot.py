"""A registry version as MLflow holds it now: the version, its logged model (or location), its run.

Three calls. A fourth where the logged model has a metric of 0 from another run (see `_value`), or for the signature
where the files are not read anyway; with both, one call reads both runs.

Runs in the worker process only: this module's callers import MLflow, the operator does not.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from modelramp.adapters.mlflow_artifacts import read_signature
from modelramp.adapters.mlflow_failures import absent, address, failure
from modelramp.rollout.observation import Failed, NoData, Reading, Value

Snapshot = Mapping[str, Any]
"""Plain values: name, version, run_id, source, created, status, description, tags, run, metrics as lists."""

_LONGEST_TAG = 1000
_MOST_METRICS = 2000
_MOST_DATASETS = 50
_COMMIT = "mlflow.source.git.commit"
_DIRTY = "mlflow.source.git.dirty"
_ALL_STAGES = 3  # ViewType.ALL, without importing MLflow


def read_snapshot(client: Any, registry: str, name: str, version: str, *, signature: bool = False) -> Reading[Snapshot]:
    """Read a version, its signature too if asked; `client` is an MlflowClient of the registry at the URI `registry`."""
    try:
        found = _read(client, registry, name, version, together=signature)
    except Exception as error:  # noqa: BLE001  whatever a client raises becomes a named reason here
        return failure(error, address(registry))
    return _signed(found.value, registry) if signature and isinstance(found, Value) else found


def _signed(found: Snapshot, registry: str) -> Reading[Snapshot]:
    signature = read_signature(found["source"], registry)
    return Value({**found, "signature": signature.value}) if isinstance(signature, Value) else signature


def _read(client: Any, registry: str, name: str, version: str, *, together: bool) -> Reading[Snapshot]:
    try:
        found = client.get_model_version(name, version)
    except Exception as error:
        if absent(error):
            return _missing(client, name, version)
        raise
    if (found.name, str(found.version)) != (name, version):
        return Failed("RegistryAnswer", f"the registry at {address(registry)} answered about another model version")
    files = find_files(client, found)
    if isinstance(files, NoData):
        return files
    logged, source = files
    if trouble := trouble_with_source(source, registry):
        return Failed("SourceRefused", f"the files of {name} version {version} are {trouble}")
    return Value(_snapshot(found, logged, _runs(client, found, logged, together=together), source))


def find_files(client: Any, found: Any) -> tuple[Any, str] | NoData:
    """Return a version's logged model, None where it has none, and where its files are; NoData where it was deleted."""
    name, version, model_id = found.name, str(found.version), _model_id(found)
    logged = _present(lambda: client.get_logged_model(model_id)) if model_id else None
    if model_id and logged is None:
        return NoData("LoggedModelNotFound", f"{name} version {version} points to a logged model that was deleted")
    return logged, logged.artifact_location if logged else client.get_model_version_download_uri(name, version)


def _runs(client: Any, found: Any, logged: Any, *, together: bool) -> dict[str, Any]:
    """Return the version's run, and the first other run that logged a 0, each by id, where they exist."""
    zeros = [metric.run_id for metric in logged.metrics or [] if metric.value == 0] if logged else []
    others = [run for run in zeros if run and run != found.run_id][:1]
    wanted = [run for run in (found.run_id, *others) if run]
    if together and len(wanted) == 2 and all(run.isalnum() for run in wanted):
        return _both(client, logged.experiment_id, *wanted)
    read = {run: _present(partial(client.get_run, run)) for run in wanted}
    return {run: data for run, data in read.items() if data is not None}


def _both(client: Any, experiment: str, *runs: str) -> dict[str, Any]:
    """Read two runs with one call; one of another experiment is not found, and its 0 not confirmed."""
    wanted = f"attributes.run_id IN ('{runs[0]}', '{runs[1]}')"
    return {run.info.run_id: run for run in client.search_runs([experiment], wanted, _ALL_STAGES, max_results=2)}


def _missing(client: Any, name: str, version: str) -> NoData:
    if _present(lambda: client.get_registered_model(name)) is None:
        return NoData("ModelNotFound", f"the registry has no model {name}")
    return NoData("VersionNotFound", f"the registry has no version {version} of {name}")


def _present(call: Any) -> Any:
    try:
        return call()
    except Exception as error:
        if absent(error):
            return None
        raise


def _model_id(found: Any) -> str | None:
    """Return the logged model's id; servers leave `model_id` empty and name it in the source only."""
    source = str(found.source or "")
    return found.model_id or (source.removeprefix("models:/") if source.startswith("models:/m-") else None)


def trouble_with_source(source: str, registry: str) -> str:
    """Say why a pod must not fetch from this place, "" where it may.

    MLflow's client sends the registry's credentials to any host that an http or mlflow-artifacts URI names,
    and whoever may register a version chooses that URI.
    """
    try:
        parts = urlsplit(source)
    except ValueError:
        return "at a malformed address"
    if parts.scheme in {"", "file"}:
        return "on one machine's disk: serve artifacts through MLflow or an object store"
    if parts.scheme in {"models", "runs"}:
        return "named by a reference that can move"
    foreign = parts.netloc and parts.netloc.rpartition("@")[2] != urlsplit(registry).netloc.rpartition("@")[2]
    if parts.scheme in {"http", "https"} or (parts.scheme == "mlflow-artifacts" and foreign):
        return "on a host that would be sent the registry's credentials"
    if parts.password or parse_qsl(parts.query):
        return "at an address that carries a credential"
    return ""


def _snapshot(found: Any, logged: Any, runs: Mapping[str, Any], source: str) -> Snapshot:
    run = runs.get(found.run_id)
    return {
        "name": found.name,
        "version": str(found.version),
        "run_id": found.run_id or "",
        "source": source,
        "created": str(found.creation_timestamp),
        "status": _status(found, logged),
        "description": (found.description or "")[:_LONGEST_TAG],
        "run": _run(run) if run else None,
        "metrics": [*_of_model(logged, runs), *_of_run(run, logged)][:_MOST_METRICS],
        "tags": _tags(run.data.tags if run else {}, logged.tags if logged else {}, found.tags),
    }


def _run(run: Any) -> dict[str, Any]:
    tags = run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {
        "id": run.info.run_id,
        "status": str(run.info.status),
        "stage": str(run.info.lifecycle_stage),
        "commit": tags.get(_COMMIT, "")[:_LONGEST_TAG],
        "dirty": tags.get(_DIRTY, "").lower() == "true",
        "parameters": len(run.data.params),
        "datasets": [_input(each) for each in inputs[:_MOST_DATASETS]],
    }


def _input(given: Any) -> dict[str, Any]:
    """Return a dataset without its source, schema and profile: a source may carry a credential."""
    tags = {tag.key: tag.value for tag in given.tags if _public(tag.key) and len(tag.value) <= _LONGEST_TAG}
    return {"name": given.dataset.name, "digest": given.dataset.digest or "", "tags": tags}


def _status(found: Any, logged: Any) -> str:
    """Return READY only where version and logged model both are; the version alone is READY too early."""
    if str(found.status) != "READY" or logged is None or str(logged.status) == "READY":
        return str(found.status)
    return f"LoggedModel{str(logged.status).title()}"


def _of_model(logged: Any, runs: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield key, value, dataset of the logged model's metrics: those on a dataset first, the newest of each."""
    newest = sorted(logged.metrics or [] if logged else [], key=lambda metric: (-metric.step, -metric.timestamp))
    seen: set[tuple[str, str]] = set()
    for metric in sorted(newest, key=lambda metric: not _dataset(metric)):
        if (metric.key, _dataset(metric)) not in seen:
            seen.add((metric.key, _dataset(metric)))
            yield [metric.key, _value(metric, runs), _dataset(metric), metric.run_id or ""]


def _of_run(run: Any, logged: Any) -> Iterator[list[Any]]:
    """Yield what only the run has: anyone can log a run's metric anew, the logged model keeps the first."""
    known = {metric.key for metric in logged.metrics or []} if logged else set()
    for key, value in sorted(run.data.metrics.items()) if run else ():
        if key not in known:
            yield [key, _number(value), "", run.info.run_id]


def _value(metric: Any, runs: Mapping[str, Any]) -> float:
    """Return a logged model's value, NaN for a 0 that its run does not confirm.

    MLflow (3.17) stores a NaN of a logged model as 0, which would pass any upper bound; the run keeps it as NaN.
    """
    run = runs.get(metric.run_id)
    if metric.value == 0 and (run is None or run.data.metrics.get(metric.key) != 0):
        return math.nan
    return _number(metric.value)


def _dataset(metric: Any) -> str:
    return f"{metric.dataset_name}@{metric.dataset_digest}" if metric.dataset_name else ""


def _number(value: float) -> float:
    """Return the value that was logged: MLflow stores an infinity as the greatest double."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def _tags(*layers: Mapping[str, Any]) -> dict[str, str]:
    """Return the run's tags, the logged model's over them, the version's over both, and of a long one its beginning.

    What is set is never said to be missing: a long `deprecated` still deprecates.
    """
    merged = {str(key): str(value) for layer in layers for key, value in layer.items()}
    return {key: value[:_LONGEST_TAG] for key, value in merged.items() if _public(key)}


def _public(key: str) -> bool:
    """Leave MLflow's own tags out: histories, diffs, paths, repository URLs that may carry a token."""
    return not key.startswith("mlflow.") or key == _COMMIT
