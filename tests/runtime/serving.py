"""Real servers for the tests: in this process on a port of their own, or as the process that a pod runs."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from modelramp_runtime.lifecycle import make_server
from modelramp_runtime.metrics import Metrics
from modelramp_runtime.model import load_model
from modelramp_runtime.settings import read_settings

IDENTITY = {"MODEL_NAME": "fraud_detector", "MODEL_VERSION": "8", "MODEL_RUN_ID": "run-8"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def predictions(self) -> Any:
        assert self.status == 200, self.body
        return self.json["predictions"]


class Caller:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, sent)
        response = self._connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, got, response.read())

    def predict(self, payload: Any, **headers: str) -> Answer:
        return self.ask(
            "POST", "/invocations", json.dumps(payload).encode(), content_type="application/json", **headers
        )

    def close(self) -> None:
        self._connection.close()


@dataclass
class Served:
    port: int
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None

    def caller(self) -> Caller:
        return Caller(self.port)

    def get(self, path: str, **headers: str) -> Answer:
        caller = Caller(self.port)
        try:
            return caller.ask("GET", path, **headers)
        finally:
            caller.close()

    def predict(self, payload: Any, **headers: str) -> Answer:
        caller = Caller(self.port)
        try:
            return caller.predict(payload, **headers)
        finally:
            caller.close()

    def post(self, body: bytes, **headers: str) -> Answer:
        caller = Caller(self.port)
        try:
            return caller.ask("POST", "/invocations", body, **headers)
        finally:
            caller.close()

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the series of that name with those labels."""
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics").body.decode().splitlines()
            if line.split("{")[0].split(" ")[0] == name
            and all(f'{label}="{value}"' in line for label, value in labels.items())
        )

    def log_lines(self) -> list[dict[str, Any]]:
        assert self.log is not None
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def awaited(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Return what the condition gives as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def served_here(model: Path, *, wait: bool = True, **variables: str) -> Iterator[Served]:
    """Serve a model over real HTTP from a thread of this process."""
    settings = read_settings({**IDENTITY, "MODEL_DIR": str(model), **variables})
    metrics = Metrics(settings)
    model = load_model(settings.model_dir, settings.extra_columns, settings.text_numbers)
    app = make_server(settings, model, metrics).app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    awaited(lambda: server.started, "the server listens")
    served = Served(server.servers[0].sockets[0].getsockname()[1])
    try:
        if wait:
            awaited(lambda: served.get("/ready").json["phase"] != "Trying", "the first prediction is over")
        yield served
    finally:
        server.should_exit = True
        thread.join(20)


def start(model: Path, log: Path, **variables: str) -> Served:
    """Start the server's own process, as a pod does; it is not yet ready."""
    port = free_port()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        **IDENTITY,
        "MODEL_DIR": str(model),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PYTHONPATH": str(Path(__file__).parents[2] / "operator"),
        **variables,
    }
    command = [sys.executable, "-m", "modelramp_runtime"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    return Served(port, process, log)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_ready(served: Served) -> bool:
    try:
        return served.get("/ready").status == 200
    except OSError:
        return False
