"""Model servers of other people run as their profiles say: their probes answer, they predict, they count."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from cluster.processes import exclusive
from cluster.settings import cache_directory
from modelramp.adapters.podspec import pod_template, served
from modelramp.ports import Ref, Rollout
from modelramp.rollout.runtime import MLFLOW_SERVE, MLSERVER, Runtime, Series
from modelramp.rollout.spec import Serving, Spec
from modelramp.rollout.status import Status
from tests.adapters.real import POD_SETTINGS, pin
from tests.controlplane.supervised import Supervised, free_port
from tests.runtime.serving import awaited

pytestmark = [pytest.mark.server, pytest.mark.slow]
RECORDS = {"dataframe_records": [{"amount": 1.0, "age": 0.0}]}
TENSORS = {
    "inputs": [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
        for name, value in RECORDS["dataframe_records"][0].items()
    ]
}
MLSERVER_PACKAGES = ("mlserver==1.7.1", "mlserver-mlflow==1.7.1", "mlflow==3.17.2", "scikit-learn", "skops")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the files of a version, as the init container leaves them."""
    data = pd.DataFrame({"amount": [0.0, 1.0, 2.0, 3.0], "age": [1.0, 0.0, 1.0, 0.0]})
    found = LogisticRegression().fit(data, [0, 0, 1, 1])
    path = tmp_path_factory.mktemp("version") / "model"
    signature = infer_signature(data, found.predict(data))
    mlflow.sklearn.save_model(found, path, signature=signature, pip_requirements=[])
    return path


@pytest.fixture(scope="module")
def mlserver_programs() -> Path:
    """Give the folder of MLServer's programs: a virtual environment of its own, made when the cache has none."""
    home = cache_directory() / "mlserver-1.7.1"
    with exclusive(cache_directory() / "locks" / home.name):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([str(home / "bin/pip"), "install", "--quiet", *MLSERVER_PACKAGES], check=True)
            (home / "complete").touch()
    return home / "bin"


@dataclass(frozen=True)
class Server:
    """A running server, by its container's own words."""

    container: Mapping[str, Any]
    runtime: Runtime

    def ask(self, path: str, body: Any = None, port: int = 0) -> tuple[int, str]:
        """Return the status and the text of an answer; 0 where none came."""
        url = f"http://127.0.0.1:{port or self.runtime.port}{path}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def probe(self, name: str) -> int:
        """Return the status that a probe of the container gets."""
        return self.ask(self.container[name]["httpGet"]["path"])[0]

    def counted(self, series: Series, suffix: str = "") -> float:
        """Add up what the server exposes of a series."""
        assert self.runtime.metrics is not None
        _, text = self.ask(self.runtime.metrics.path, port=self.runtime.metrics.port)
        lines = re.findall(rf"^{series.name}{suffix}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
        return sum(
            float(value) for labels, value in lines if _match(series, dict(re.findall(r'(\w+)="(.*?)"', labels)))
        )


def _match(series: Series, labels: Mapping[str, str]) -> bool:
    return all(re.fullmatch(pattern, labels.get(label, "")) for label, pattern in series.labels.items())


@contextmanager
def running(runtime: Runtime, model: Path, programs: Path, home: Path) -> Iterator[Server]:
    """Run a profile's container as a process: its command, its arguments, its variables and nothing else."""
    serving = Serving(runtime=runtime, image="registry.example.com/server:1")
    spec = replace(Spec("fraud_detector", "8"), serving=serving)
    rollout = Rollout(Ref("shop", "fraud"), "uid", 1, "1", spec, Status(stable=pin("8")))
    container = pod_template(served(rollout, pin("8")), POD_SETTINGS)["spec"]["containers"][0]
    variables = _expanded(container["env"], model, home)
    command = [_filled(word, variables) for word in (*container["command"], *container["args"])]
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"} | variables
    pairs = [f"{name}={value}" for name, value in environment.items()]
    running = Supervised.start(["env", "-i", "-C", home, *pairs, *command], home / "server.log")
    try:
        server = Server(container, runtime)
        awaited(lambda: running.has_ended or server.probe("readinessProbe") == 200, "an answer", seconds=120)
        assert not running.has_ended, running.ending()
        yield server
    finally:
        running.stop()


def _expanded(env: list[Mapping[str, str]], model: Path, home: Path) -> dict[str, str]:
    """Fill in variables as the kubelet does: each may refer to those before it."""
    found: dict[str, str] = {}
    for each in env:
        found[each["name"]] = _filled(each["value"], found)
    here = {"MODEL_DIR": str(model), "HOME": str(home)}
    moved = {name: value.replace("/mnt/model", str(model)) for name, value in found.items()}
    return {name: str(home) if value == "/tmp" else value for name, value in moved.items()} | here


def _filled(word: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], word)


def test_mlflows_own_server(model: Path, tmp_path: Path) -> None:
    runtime = replace(MLFLOW_SERVE, port=free_port())
    with running(runtime, model, Path(sys.executable).parent, tmp_path) as server:
        assert [server.probe(name) for name in ("startupProbe", "livenessProbe")] == [200, 200]
        assert server.ask("/invocations", RECORDS) == (200, '{"predictions": [0]}')
        assert server.ask("/metrics")[0] == 404, "its profile promises no metrics"


def test_mlserver(model: Path, tmp_path: Path, mlserver_programs: Path) -> None:
    assert MLSERVER.metrics is not None
    metrics_port = str(free_port())
    moved = [each | ({"value": metrics_port} if each["value"] == "8082" else {}) for each in MLSERVER.env]
    grpc = {"name": "MLSERVER_GRPC_PORT", "value": str(free_port())}
    metrics = replace(MLSERVER.metrics, port=int(metrics_port))
    runtime = replace(MLSERVER, port=free_port(), env=(*moved, grpc), metrics=metrics)
    with running(runtime, model, mlserver_programs, tmp_path) as server:
        assert [server.probe(name) for name in ("startupProbe", "livenessProbe")] == [200, 200]
        status, text = server.ask("/v2/models/fraud_detector/infer", TENSORS)
        assert (status, json.loads(text)["outputs"][0]["data"]) == (200, [0])
        assert json.loads(text)["model_version"] == "8"
        assert server.ask("/invocations", RECORDS) == (200, '{"predictions": [0]}')
        assert server.ask("/invocations", {"dataframe_records": [{"amount": 1.0}]})[0] == 400
        assert (server.counted(metrics.answers[0]), server.counted(metrics.errors[0])) == (3, 1)
        assert server.counted(metrics.server_errors[0]) == 0
        assert metrics.latency is not None
        assert server.counted(metrics.latency.series, "_count") == 3
        assert server.counted(metrics.latency.series, "_bucket") > 0
