"""`python -m modelramp_runtime.fetch`: one model's files into a directory, whole and checked, or none."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from modelramp_runtime.digest import Tree, TreeError, read_tree
from modelramp_runtime.farewell import say_last, without_secrets
from modelramp_runtime.logs import fields, write_logs_as_json
from modelramp_runtime.settings import Environment, LogLevel, SettingsError, one_of, seconds, text

LOG = logging.getLogger("modelramp.fetch")
_PREFIX = ".fetch-"
_MARK = "MLmodel"
_MODELS = re.compile(r"models:/(m-[0-9a-f]+|[^/@]+/[0-9]+)")
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0

# MLflow's own client waits up to 20 minutes for a server that hangs; the deadline here is ours.
CLIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class FetchError(Exception):
    """The model's files cannot be had, or are not the ones that were checked."""


@dataclass(frozen=True, slots=True)
class Order:
    """Which files to fetch, where to, and what their digest must be."""

    source: str
    digest: str
    directory: Path
    tracking_uri: str
    deadline_seconds: float
    log_level: LogLevel


def _is_fixed(source: str) -> bool:
    return not source.startswith("models:") or bool(_MODELS.fullmatch(source))


def read_order(variables: Mapping[str, str]) -> Order:
    """Return what the environment orders; raise `SettingsError` that names every bad variable."""
    env = Environment(variables, [])
    resolved = text("a resolved artifact URI, never an alias or a stage: those can point elsewhere later", _is_fixed)
    digest = text("sha256: and 64 hexadecimal digits", lambda value: bool(re.fullmatch("sha256:[0-9a-f]{64}", value)))
    order = Order(
        source=env.read("MODEL_SOURCE", None, lambda value: resolved(text("the model's artifact URI")(value))),
        digest=env.read("MODEL_DIGEST", None, digest),
        directory=Path(env.read("MODEL_DIR", "/mnt/model", text("a path"))),
        tracking_uri=variables.get("MLFLOW_TRACKING_URI", "").strip(),
        deadline_seconds=env.read("MODELRAMP_FETCH_DEADLINE_SECONDS", 300.0, seconds(1, 86_400)),
        log_level=env.read("MODELRAMP_LOG_LEVEL", LogLevel.INFO, one_of(LogLevel)),
    )
    if order.source and not order.tracking_uri and order.source.startswith(("models:", "runs:", "mlflow-artifacts:")):
        env.problems.append("MLFLOW_TRACKING_URI is not set: must be the registry's URL for such a MODEL_SOURCE")
    env.complain()
    return order


def is_transient(error: BaseException) -> bool:
    """Judge whether another try may succeed: not where the server refuses or the thing is not there."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status is None and hasattr(error, "get_http_status_code"):
        status = error.get_http_status_code()
    if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
        return False
    # A failed download of many files is one error that quotes each file's own.
    refused = re.search(r"\b(40[0134]) Client Error|RESOURCE_DOES_NOT_EXIST|PERMISSION_DENIED", str(error))
    return refused is None and not isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError)


def download(source: str, target: Path) -> None:
    """Download a model's directory as it is; raises whatever the store's client raises."""
    # Only now: importing MLflow takes a second, and it reads its settings from the environment.
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # noqa: PLC0415
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository  # noqa: PLC0415

    if source.startswith("models:"):
        # Through this repository MLflow would add a file of its own, and the digest would be another.
        repository_of_models: Any = ModelsArtifactRepository
        source = repository_of_models.get_underlying_uri(source)
    repository: Any = get_artifact_repository(source)
    repository.download_artifacts("", dst_path=str(target))


def download_until(order: Order, target: Path, pause: Callable[[float], None] = time.sleep) -> None:
    """Download, again while the fault may pass and the deadline allows; else raise `FetchError`."""
    end = time.monotonic() + order.deadline_seconds
    wait = _FIRST_PAUSE
    while True:
        try:
            return download(order.source, target)
        except Exception as error:
            message = without_secrets(f"{type(error).__name__}: {error}")[:500]
            if not is_transient(error):
                raise FetchError(f"{order.source} cannot be fetched: {message}") from error
            if time.monotonic() + wait > end:
                raise FetchError(
                    f"{order.source} was not to be had within {order.deadline_seconds:g} s: {message}"
                ) from error
            LOG.warning("fetching failed; trying again", extra=fields(error=message, wait_seconds=wait))
        _empty(target)
        pause(wait)
        wait = min(wait * 2, _LONGEST_PAUSE)


@contextlib.contextmanager
def _progress(target: Path, every: float = 5.0) -> Iterator[None]:
    is_over = threading.Event()

    def report() -> None:
        while not is_over.wait(every):
            sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
            LOG.info("fetching", extra=fields(files=len(sizes), bytes=sum(sizes)))

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        is_over.set()
        reporter.join()


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def check(tree: Tree, order: Order) -> None:
    """Raise `FetchError` unless the files are those whose digest was ordered."""
    if tree.files == 0:
        raise FetchError(f"{order.source} holds no files")
    if tree.digest != order.digest:
        raise FetchError(
            f"the files of {order.source} have the digest {tree.digest}, but MODEL_DIGEST is {order.digest}: "
            "they were changed after the version was checked"
        )


def _publish(staged: Path, directory: Path) -> None:
    # The server looks for MLmodel, so it comes last: a directory with it is complete.
    for path in sorted(staged.iterdir(), key=lambda path: path.name == _MARK):
        path.rename(directory / path.name)


def fetch(order: Order) -> Tree:
    """Bring the ordered files into the directory; else raise `FetchError` and leave it empty."""
    order.directory.mkdir(parents=True, exist_ok=True)
    if (order.directory / _MARK).exists() and (tree := read_tree(order.directory)).digest == order.digest:
        LOG.info("the files are there already", extra=fields(digest=tree.digest))
        return tree
    _empty(order.directory)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=order.directory) as folder:
        staged = Path(folder, "model")
        staged.mkdir()
        with _progress(staged):
            download_until(order, staged)
        tree = read_tree(staged)
        check(tree, order)
        _publish(staged, order.directory)
    return tree


def _leave(signum: int, _: object) -> NoReturn:
    raise SystemExit(128 + signum)


def main() -> int:
    """Fetch what the environment orders; return the exit status."""
    signal.signal(signal.SIGTERM, _leave)
    for name, value in CLIENT.items():
        os.environ.setdefault(name, value)
    started = time.monotonic()
    try:
        order = read_order(os.environ)
        write_logs_as_json(order.log_level)
        LOG.info("fetching", extra=fields(source=without_secrets(order.source), directory=str(order.directory)))
        tree = fetch(order)
    except (SettingsError, FetchError, TreeError, OSError) as error:
        return say_last(str(error))
    about = fields(files=tree.files, bytes=tree.size, digest=tree.digest, seconds=round(time.monotonic() - started, 3))
    LOG.info("fetched", extra=about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
