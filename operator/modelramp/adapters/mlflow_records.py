"""Records and aliases as MLflow keeps them. Writing the same twice is harmless; what others wrote is left alone.

A record is a file on the version's run, below `modelramp/`; a tag of the version where it has no run that takes
one; a tag of the registered model where there is no such version. The newest record of each event is also a tag of
the version. Runs in the worker process only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from modelramp.adapters.mlflow_failures import absent, address, failure
from modelramp.adapters.mlflow_snapshot import find_files, trouble_with_source
from modelramp.rollout.gates.ready import SUNSET_TAG
from modelramp.rollout.observation import NoData, Reading, Value

T = TypeVar("T")
Question = Mapping[str, Any]

PREFIX = "modelramp."
DIRECTORY = "modelramp"


def write_record(client: Any, registry: str, asked: Question) -> Reading[Mapping[str, Any]]:
    """Write one record: `name`, `version`, `run_id`, `path`, `record`, `document`, and the `tag` with its `summary`.

    NoData where the registry knows neither the run nor the version nor the model.
    """
    return _guarded(registry, lambda: _write(client, registry, asked))


def write_aliases(client: Any, registry: str, asked: Question) -> Reading[Mapping[str, Any]]:
    """Let the aliases of the model `name` lead where `wanted` says, "" for nowhere; answers which are `foreign`."""
    return _guarded(registry, lambda: _move_all(client, asked))


def read_pin(client: Any, registry: str, asked: Question) -> Reading[Mapping[str, Any]]:
    """Read what identifies a version: `created`, `run_id`, `source`, and its `sunset`; NoData where it is gone."""
    return _guarded(registry, lambda: _read_pin(client, asked["name"], asked["version"]))


def _read_pin(client: Any, name: str, version: str) -> Reading[Mapping[str, Any]]:
    found = present(lambda: client.get_model_version(name, version))
    if found is None:
        return NoData("VersionNotFound", f"the registry has no version {version} of {name}")
    files = find_files(client, found)
    if isinstance(files, NoData):
        return files
    logged, source = files
    sunset = _tag(client, found, logged, SUNSET_TAG)
    return Value(
        {"created": str(found.creation_timestamp), "run_id": found.run_id or "", "source": source, "sunset": sunset}
    )


def _tag(client: Any, found: Any, logged: Any, key: str) -> str:
    """Return a tag as the gates take it: the version's, else its logged model's, else its run's."""
    for tags in (found.tags, logged.tags if logged else {}):
        if key in tags:
            return str(tags[key])
    run = present(lambda: client.get_run(found.run_id)) if found.run_id else None
    return str(run.data.tags.get(key, "")) if run else ""


def _guarded(registry: str, call: Callable[[], Reading[Mapping[str, Any]]]) -> Reading[Mapping[str, Any]]:
    try:
        return call()
    except Exception as error:  # noqa: BLE001  whatever a client raises becomes a named reason here
        return failure(error, address(registry))


def present(call: Callable[[], T]) -> T | None:
    """Return what a call finds, None where the registry says that there is no such thing."""
    try:
        return call()
    except Exception as error:
        if absent(error):
            return None
        raise


def _write(client: Any, registry: str, asked: Question) -> Reading[Mapping[str, Any]]:
    name, version = asked["name"], asked["version"]
    found = present(lambda: client.get_model_version(name, version))
    run_id = asked["run_id"] or (found.run_id if found else "")
    if not (run_id and _on_run(client, registry, run_id, asked)):
        key = f"{PREFIX}record.{asked['record']}"
        if found:
            client.set_model_version_tag(name, version, key, asked["document"])
        elif present(lambda: client.get_registered_model(name)) is None:
            return NoData("ModelNotFound", f"the registry has no model {name}, so that no record can be kept there")
        else:
            client.set_registered_model_tag(name, key, asked["document"])
    if found:
        _label(client, found, asked)
    return Value({})


def _on_run(client: Any, registry: str, run_id: str, asked: Question) -> bool:
    """Write the file; not on a deleted run, not among the model's files, which have a digest, not out of the store."""
    run = present(lambda: client.get_run(run_id))
    if run is None or run.info.lifecycle_stage == "deleted" or trouble_with_source(run.info.artifact_uri, registry):
        return False
    if is_within(f"{run.info.artifact_uri}/{DIRECTORY}", asked["source"]):
        return False
    client.log_text(run_id, asked["document"], asked["path"])
    return True


def is_within(place: str, source: str) -> bool:
    """Tell whether a place is in a model's files."""
    return bool(source) and f"{place}/".startswith(f"{source.rstrip('/')}/")


def _label(client: Any, found: Any, asked: Question) -> None:
    """Set the tag of the event, unless a newer record of that event has it already."""
    known = _parsed(found.tags.get(asked["tag"], ""))
    if str(known.get("at", "")) <= asked["summary"]["at"]:
        client.set_model_version_tag(found.name, str(found.version), asked["tag"], json.dumps(asked["summary"]))


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _move_all(client: Any, asked: Question) -> Reading[Mapping[str, Any]]:
    model = present(lambda: client.get_registered_model(asked["name"]))
    if model is None:
        return Value({"foreign": []})
    foreign = [alias for alias, version in asked["wanted"].items() if not _move(client, model, asked, alias, version)]
    return Value({"foreign": foreign})


def _move(client: Any, model: Any, asked: Question, alias: str, version: str) -> bool:
    """Move one alias that is ours; tell whether it was free to be moved.

    A tag of the model says whose it is and between which versions it was moved last, written before the move: so a
    crash in between leaves an alias that is still known as ours.
    """
    tag, now = f"{PREFIX}alias.{alias}", str(model.aliases.get(alias) or "")
    owned = _parsed(model.tags.get(tag, ""))
    if now == version:
        if version and not owned:
            _own(client, model, tag, asked["owner"], [version])
        return True
    is_ours = not owned or owned.get("deployment") == asked["owner"]
    if not is_ours or (now and now not in owned.get("versions", [])):
        return not version
    _own(client, model, tag, asked["owner"], [known for known in (now, version) if known])
    if version and present(lambda: client.get_model_version(model.name, version)):
        client.set_registered_model_alias(model.name, alias, version)
    elif now:
        client.delete_registered_model_alias(model.name, alias)
    return True


def _own(client: Any, model: Any, tag: str, owner: str, versions: list[str]) -> None:
    client.set_registered_model_tag(model.name, tag, json.dumps({"deployment": owner, "versions": versions}))
