"""Read the story back from MLflow: an object's records, and where a version comes from. For one-shot commands."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from modelramp.adapters.mlflow import environment
from modelramp.adapters.mlflow_failures import address, failure
from modelramp.adapters.mlflow_records import DIRECTORY, PREFIX, present
from modelramp.adapters.mlflow_snapshot import trouble_with_source
from modelramp.api.codec import reader
from modelramp.ports import Ref
from modelramp.rollout.observation import Failed, NoData, Reading, Value
from modelramp.rollout.status import Record

T = TypeVar("T")
_DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from, as the registry has it now."""

    version: str
    created: str
    run_id: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    run_status: str = ""
    commit: str = ""
    dirty: str = ""
    repository: str = ""
    source_name: str = ""
    source_type: str = ""
    entry_point: str = ""
    datasets: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """An object's records; `lost` says of which runs nothing can be read any more, one line each."""

    records: tuple[Record, ...] = ()
    lost: tuple[str, ...] = ()


class MlflowStory:
    """An MLflow server, asked by a command; credentials are MLflow's own environment variables."""

    def __init__(self, uri: str) -> None:
        """Prepare; the first question imports MLflow's client. Sets MLflow's own settings for this process."""
        os.environ.update(environment(uri, _DEADLINE))
        self._uri = uri

    def records(self, model: str, ref: Ref, runs: Mapping[str, str]) -> Reading[Kept]:
        """Return every record of an object that is kept with the versions of a model.

        `runs` are versions by run id: a version that was deleted leads to its run no more.
        """
        return self._guarded(lambda client: Value(_kept(client, self._uri, model, ref, runs)))

    def origin(self, model: str, version: str, run_id: str = "") -> Reading[Origin]:
        """Return where a version comes from; of one that was deleted what its run still tells."""
        return self._guarded(lambda client: _origin(client, model, version, run_id))

    def _guarded(self, call: Callable[[Any], Reading[T]]) -> Reading[T]:
        try:
            from mlflow.tracking.client import MlflowClient  # noqa: PLC0415 - takes a second

            return call(MlflowClient(tracking_uri=self._uri, registry_uri=self._uri))
        except Exception as error:  # noqa: BLE001  whatever a client raises becomes a named reason here
            return failure(error, address(self._uri))


def _kept(client: Any, registry: str, model: str, ref: Ref, known: Mapping[str, str]) -> Kept:
    registered = present(lambda: client.get_registered_model(model))
    records = [*_of_tags(registered.tags, ref)] if registered else []
    runs = dict(known)
    for found in client.search_model_versions(f"name = '{model}'") if registered else ():
        if any(key.startswith(PREFIX) for key in found.tags):
            records += _of_tags(found.tags, ref)
            runs[found.run_id or ""] = str(found.version)
    lost = []
    for run_id in sorted(runs.keys() - {""}):
        if (run := present(partial(client.get_run, run_id))) is None:
            lost.append(f"version {runs[run_id]}: run {run_id} is gone from MLflow, with the records that were on it")
        else:
            records += _of_run(client, registry, run, ref)
    return Kept(tuple(records), tuple(lost))


def _of_tags(tags: Mapping[str, str], ref: Ref) -> Iterator[Record]:
    for key, text in tags.items():
        if key.startswith(f"{PREFIX}record."):
            yield from _parsed(text, ref)


def _of_run(client: Any, registry: str, run: Any, ref: Ref) -> Iterator[Record]:
    """Yield the records on a run; none where its address would be sent the registry's credentials."""
    place, run_id = f"{DIRECTORY}/{ref.namespace}/{ref.name}", run.info.run_id
    if trouble_with_source(run.info.artifact_uri, registry):
        return
    if not client.list_artifacts(run_id, place):
        return
    with tempfile.TemporaryDirectory(prefix="modelramp-") as directory:
        for path in sorted(Path(client.download_artifacts(run_id, place, directory)).glob("*.json")):
            yield from _parsed(path.read_bytes() if path.is_file() else b"", ref)


def _parsed(text: str | bytes, ref: Ref) -> Iterator[Record]:
    """Yield the record in a text, where it is one and of this object: anyone may write to a run."""
    try:
        document = json.loads(text)
        whose = document["deployment"]
        if (whose["namespace"], whose["name"]) == (ref.namespace, ref.name):
            yield reader(Record)(document)
    except (ValueError, KeyError, TypeError, RecursionError):
        return


def _origin(client: Any, model: str, version: str, run_id: str) -> Reading[Origin]:
    found = present(lambda: client.get_model_version(model, version))
    if found is None:
        left = present(lambda: client.get_run(run_id)) if run_id else None
        if left is None:
            return NoData("VersionNotFound", f"the registry has no version {version} of {model}")
        return Value(_with_run(Origin(version, "", run_id), left))
    run = present(lambda: client.get_run(found.run_id)) if found.run_id else None
    tags = {key: value for key, value in found.tags.items() if not key.startswith(PREFIX)}
    origin = Origin(version, str(found.creation_timestamp), found.run_id or "", found.description or "", tags)
    return Value(_with_run(origin, run) if run else origin)


def _with_run(origin: Origin, run: Any) -> Origin:
    tags = run.data.tags
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return Origin(
        origin.version,
        origin.created,
        origin.run_id,
        origin.description or tags.get("mlflow.note.content", ""),
        {**{key: value for key, value in tags.items() if not key.startswith("mlflow.")}, **origin.tags},
        run_status=f"{run.info.status}, {run.info.lifecycle_stage}",
        commit=tags.get("mlflow.source.git.commit", ""),
        dirty=tags.get("mlflow.source.git.dirty", ""),
        repository=without_credentials(tags.get("mlflow.source.git.repoURL", "")),
        source_name=tags.get("mlflow.source.name", ""),
        source_type=tags.get("mlflow.source.type", ""),
        entry_point=tags.get("mlflow.project.entryPoint", ""),
        datasets=tuple(f"{each.dataset.name} {each.dataset.digest}" for each in inputs),
        parameters=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )


def without_credentials(url: str) -> str:
    """Return a repository's address without what stands before its @, where that may be a token."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return url
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def why_not(reading: NoData | Failed) -> str:
    """Return one line for people."""
    return f"{reading.reason}: {reading.message}"
