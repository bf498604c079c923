"""A real MLflow server over sqlite, in a process of its own, and small models registered in it.

Starts in about three seconds: the database is migrated once per MLflow version and kept in the user's cache.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples" / "01-first-deployment"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "modelramp"
START_SECONDS = 90


@dataclass
class MlflowServer:
    """A server that listens on `uri`; its database and artifacts are below `directory`."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def uri(self) -> str:
        """Return the tracking and registry URI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def artifacts(self) -> Path:
        """Return the directory that holds what `mlflow-artifacts:/` names."""
        return self.directory / "artifacts"

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process without ending it: connections are taken, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def start_server(directory: Path) -> MlflowServer:
    """Start a server on a free port and wait until it answers."""
    database = directory / "mlflow.db"
    shutil.copyfile(_migrated(), database)
    port, log = _free_port(), directory / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(port)],
            env=_environment(database, directory / "artifacts"), stdout=out, stderr=out,
        )  # fmt: skip
    server = MlflowServer(directory, port, process)
    try:
        _await_answer(server, log)
    except BaseException:
        server.stop()
        raise
    return server


@cache
def shared_server() -> MlflowServer:
    """Return the one server of this test process; it ends with the process."""
    directory = Path(tempfile.mkdtemp(prefix="modelramp-mlflow-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    server = start_server(directory)
    atexit.register(server.stop)
    return server


@pytest.fixture(scope="session")
def mlflow_server() -> MlflowServer:
    """A real MLflow server, shared by every test of the session: give models names of their own."""
    return shared_server()


def _environment(database: Path, artifacts: Path) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "_MLFLOW_"))}
    return {
        **inherited,
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{database}",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{database}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(artifacts),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _migrated() -> Path:
    """Return an empty database at this MLflow's schema, made once."""
    kept = CACHE / f"mlflow-empty-{importlib.metadata.version('mlflow')}.db"
    if kept.exists():
        return kept
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        made = Path(directory) / "new.db"
        script = (
            "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as S;"
            "S(sys.argv[1], 'mlflow-artifacts:/')"
        )
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        command = [sys.executable, "-c", script, f"sqlite:///{made}"]
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=directory)
        made.replace(kept)
    return kept


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _await_answer(server: MlflowServer, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.uri}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")


@dataclass(frozen=True)
class Registered:
    """What `register` made."""

    name: str
    version: str
    run_id: str
    model_id: str


def train_example(server: MlflowServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the first example's `train.py`: `fraud_detector` versions 1 to 3, or `--version N` alone."""
    command = [sys.executable, str(EXAMPLE / "train.py"), *arguments]
    environment = os.environ | {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=300)


@cache
def example(module: str) -> ModuleType:
    """Import `train` or `traffic` of the first example."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    return importlib.import_module(module)


@cache
def small_model(*, signature: bool = True) -> Path:
    """Train a tree of depth two on two hundred rows, and return it in MLflow's format."""
    import numpy as np
    import pandas as pd
    from mlflow import sklearn
    from mlflow.models import infer_signature
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(7)
    rows = pd.DataFrame({"amount": rng.lognormal(3, 1, 200), "hour": rng.integers(0, 24, 200)})
    model = DecisionTreeRegressor(max_depth=2, random_state=7).fit(rows, (rows.amount > 30).astype(float))
    directory = Path(tempfile.mkdtemp(prefix="modelramp-model-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    warnings.filterwarnings("ignore", message=".*integer column", category=UserWarning)
    sklearn.save_model(
        model, directory / "model",
        signature=infer_signature(rows, model.predict(rows)) if signature else None,
        pip_requirements=["scikit-learn", "skops"], skops_trusted_types=["sklearn.tree._tree.Tree"],
    )  # fmt: skip
    return directory / "model"


def register(
    server: MlflowServer,
    name: str,
    *,
    signature: bool = True,
    ready: bool = True,
    run_metrics: Mapping[str, float] | None = None,
    model_metrics: Mapping[str, float] | None = None,
    dataset: tuple[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Registered:
    """Register one more version of `name`; `model_metrics` belong to the logged model, with `dataset` if given.

    `dataset` is name and digest; `files` are laid beside the model's own, by relative path.
    """
    client = mlflow_client(server)
    _ensure_model(client, name)
    experiment = _ensure_experiment(client, name)
    run = client.create_run(experiment).info.run_id
    model = client.create_logged_model(experiment, name="model", source_run_id=run).model_id
    client.log_model_artifacts(model, str(small_model(signature=signature)))
    for path, content in (files or {}).items():
        put_artifact(server, model, path, content)
    for key, value in (run_metrics or {}).items():
        client.log_metric(run, key, value)
    _log_model_metrics(client, run, model, model_metrics or {}, dataset)
    if ready:
        client.finalize_logged_model(model, "READY")
    made = client.create_model_version(name, f"models:/{model}", run, tags=dict(tags or {}), model_id=model)
    client.set_terminated(run)
    return Registered(name, str(made.version), run, model)


def put_artifact(server: MlflowServer, model_id: str, path: str, content: bytes) -> None:
    """Write a file of a logged model over HTTP, as anyone may who reaches the server."""
    location = mlflow_client(server).get_logged_model(model_id).artifact_location.removeprefix("mlflow-artifacts:/")
    uri = f"{server.uri}/api/2.0/mlflow-artifacts/artifacts/{location}/{urllib.parse.quote(path)}"
    with urllib.request.urlopen(urllib.request.Request(uri, content, method="PUT"), timeout=30):
        pass


def artifact_file(server: MlflowServer, model_id: str, path: str) -> Path:
    """Return where the server keeps a file of a logged model."""
    location = mlflow_client(server).get_logged_model(model_id).artifact_location
    return server.artifacts / location.removeprefix("mlflow-artifacts:/") / path


def mlflow_client(server: MlflowServer) -> Any:
    """Return a client of the server."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)


def _log_model_metrics(
    client: Any, run: str, model: str, metrics: Mapping[str, float], dataset: tuple[str, str] | None
) -> None:
    name, digest = dataset or (None, None)
    for key, value in metrics.items():
        client.log_metric(run, key, value, model_id=model, dataset_name=name, dataset_digest=digest)


def _ensure_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):
        client.create_registered_model(name)


def _ensure_experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _serve(port: int) -> None:
    from mlflow.server import app
    from werkzeug.serving import make_server

    make_server("127.0.0.1", port, app, threaded=True).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
