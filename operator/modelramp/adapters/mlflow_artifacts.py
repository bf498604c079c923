"""The bytes of a version's files, hashed as they stream by: no file is kept, whatever the model's size.

Runs in the worker process only. Stores that MLflow's client cannot stream are taken file by file through a
temporary directory, so the disk holds one file at a time.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from modelramp.adapters.digest import tree_digest
from modelramp.adapters.mlflow_failures import absent, address, failure
from modelramp.rollout.observation import Failed, NoData, Reading, Value

Tree = Mapping[str, Any]
"""Plain JSON values: digest, bytes, files (their paths), signature (as the MLmodel file has it)."""
Progress = Callable[[int, int], None]
"""Told the bytes done and the bytes in all."""

_CHUNK = 1 << 20
_MANIFEST = "MLmodel"
_LARGEST_MANIFEST = 4 << 20
_MOST_PATHS = 1000
_FIRST_BYTE_SECONDS = 300  # a proxying server fetches the whole file from its store before it sends a byte


def read_tree(source: str, registry: str, progress: Progress, *, through_disk: bool = False) -> Reading[Tree]:
    """Read and hash every file below `source`, an artifact store's URI; `registry` is the MLflow server's."""
    try:
        return _read(_repository(source, registry), address(registry), progress, through_disk=through_disk)
    except Exception as error:  # noqa: BLE001  whatever a store's client raises becomes a named reason here
        if absent(error):
            return NoData("ArtifactsNotFound", "the version's files are gone from the artifact store")
        return failure(error, address(registry))


def _repository(source: str, registry: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: PLC0415

    return get_artifact_repository(source, tracking_uri=registry)


def _read(repository: Any, where: str, progress: Progress, *, through_disk: bool) -> Reading[Tree]:
    files = {info.path: int(info.file_size or 0) for info in _files(repository)}
    if _MANIFEST not in files:
        return NoData("ArtifactsNotFound", f"the version has no {_MANIFEST} file in the artifact store")
    if strange := [path for path in files if "\n" in path]:
        return Failed("RegistryAnswer", f"a file's name has a line break in it: {strange[0]!r}")
    chunks = _through_disk if through_disk or not _streams(repository) else _streamed
    done, hashes, manifest = 0, {}, bytearray()
    for path in files:
        sha = hashlib.sha256()
        for chunk in chunks(repository, path):
            sha.update(chunk)
            done += len(chunk)
            progress(done, sum(files.values()))
            if path == _MANIFEST and len(manifest) <= _LARGEST_MANIFEST:
                manifest += chunk
        hashes[path] = sha.hexdigest()
    return _tree(hashes, done, bytes(manifest), where)


def _tree(hashes: Mapping[str, str], size: int, manifest: bytes, where: str) -> Reading[Tree]:
    described = _described(manifest, where)
    if isinstance(described, Failed):
        return described
    files = sorted(hashes)[:_MOST_PATHS]
    return Value(
        {"digest": tree_digest(hashes), "bytes": size, "files": files, "signature": described.value.get("signature")}
    )


def _described(manifest: bytes, where: str) -> Value[Mapping[str, Any]] | Failed:
    try:
        described = yaml.safe_load(manifest)
    except yaml.YAMLError:
        return Failed("RegistryAnswer", f"the {_MANIFEST} file from {where} is not YAML")
    if not isinstance(described, dict):
        return Failed("RegistryAnswer", f"the {_MANIFEST} file from {where} does not describe a model")
    return Value(described)


def read_signature(source: str, registry: str) -> Reading[Any]:
    """Read the signature of the MLmodel file below `source`, as the file has it, in one call."""
    try:
        repository = _repository(source, registry)
        manifest = bytearray()
        for chunk in (_streamed if _streams(repository) else _through_disk)(repository, _MANIFEST):
            manifest += chunk
            if len(manifest) > _LARGEST_MANIFEST:
                return Failed("RegistryAnswer", f"the {_MANIFEST} file is larger than {_LARGEST_MANIFEST >> 20} MiB")
    except Exception as error:  # noqa: BLE001  whatever a store's client raises becomes a named reason here
        if absent(error):
            return NoData("ArtifactsNotFound", f"the version's {_MANIFEST} file is gone from the artifact store")
        return failure(error, address(registry))
    described = _described(bytes(manifest), address(registry))
    return Value(described.value.get("signature")) if isinstance(described, Value) else described


def _files(repository: Any, below: str | None = None) -> Iterator[Any]:
    for info in repository.list_artifacts(below):
        if not info.is_dir:
            yield info
        elif info.path not in {".", below}:  # some stores list a directory inside itself
            yield from _files(repository, info.path)


def _streams(repository: Any) -> bool:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository  # noqa: PLC0415

    return isinstance(repository, HttpArtifactRepository)


def _streamed(repository: Any, path: str) -> Iterator[bytes]:
    from mlflow.utils import credentials, rest_utils  # noqa: PLC0415

    host_of: Any = credentials.get_default_host_creds
    request: Any = rest_utils.http_request
    timeout = (5, _FIRST_BYTE_SECONDS)
    target = f"/{quote(path)}"
    with request(host_of(repository.artifact_uri), target, "GET", stream=True, timeout=timeout) as response:
        response.raise_for_status()
        yield from response.iter_content(_CHUNK)


def _through_disk(repository: Any, path: str) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory(prefix="modelramp-") as directory:
        copy = Path(repository.download_artifacts(path, dst_path=directory))
        with copy.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
