"""The servers that the model server is measured beside, each with its command: the same model, the same machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import aiohttp

from cluster.processes import exclusive
from cluster.settings import cache_directory
from tests.runtime.serving import free_port

HOME = Path(__file__).parents[2]
MLSERVER = "1.7.1"
OURS, MLFLOW = "modelramp", "mlflow models serve"
STARTS_WITHIN = 90.0  # seconds
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Peer:
    """A server of the model: its command, its environment, where it is asked and when it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    ready: str

    @property
    def url(self) -> str:
        """Return where predictions are asked for."""
        return f"http://127.0.0.1:{self.port}/invocations"


def peers(model: Path) -> list[Peer]:
    """Return the servers, each as its makers tell a user to start it."""
    return [_ours(model), _mlflow(model), _mlserver(model)]


def _ours(model: Path) -> Peer:
    port = free_port()
    identity = {"MODEL_NAME": "bench", "MODEL_VERSION": "1", "MODEL_DIR": str(model), "HOST": "127.0.0.1"}
    environment = identity | {"PORT": str(port), "PYTHONPATH": str(HOME / "operator")}
    return Peer(OURS, (sys.executable, "-m", "modelramp_runtime"), environment, port, "/ready")


def _mlflow(model: Path) -> Peer:
    port = free_port()
    command = (sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "-p", str(port))
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Peer(MLFLOW, (*command, "--env-manager=local"), environment, port, "/health")


def _mlserver(model: Path) -> Peer:
    settings = {"name": "bench", "implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": str(model)}}
    home, port = model.parent / "mlserver", free_port()
    home.mkdir()
    (home / "model-settings.json").write_text(json.dumps(settings))
    environment = {
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(free_port()),
        "MLSERVER_METRICS_PORT": str(free_port()),
        # Its default of one process more only costs memory for a model as quick as this one.
        "MLSERVER_PARALLEL_WORKERS": "0",
    }
    command = (str(installed_mlserver()), "start", str(home))
    return Peer(f"MLServer {MLSERVER}", command, environment, port, "/v2/models/bench/ready")


def installed_mlserver() -> Path:
    """Return MLServer's program; it is installed once, into an environment of its own in the cache."""
    home = cache_directory() / f"mlserver-{MLSERVER}"
    program = home / "bin" / "mlserver"
    with exclusive(cache_directory() / "locks" / "mlserver"):
        if not program.exists():
            subprocess.run((sys.executable, "-m", "venv", "--clear", str(home)), check=True)
            # The libraries that the model was made with, so that all servers compute the same.
            same = [f"{name}=={version(name)}" for name in ("mlflow", "scikit-learn", "skops")]
            wanted = [f"mlserver=={MLSERVER}", f"mlserver-mlflow=={MLSERVER}", *same]
            subprocess.run((str(home / "bin" / "pip"), "install", "--quiet", *wanted), check=True)
    return program


@asynccontextmanager
async def running(peer: Peer) -> AsyncIterator[int]:
    """Run a server in a session of its own until it is no longer needed; yield its process."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *peer.command, env=kept | dict(peer.environment), stdout=null, stderr=null, start_new_session=True
    )
    try:
        await _ready(peer, process)
        yield process.pid
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
        await process.wait()


async def _ready(peer: Peer, process: asyncio.subprocess.Process) -> None:
    end = time.monotonic() + STARTS_WITHIN
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end and process.returncode is None:
            try:
                async with session.get(f"http://127.0.0.1:{peer.port}{peer.ready}") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError(f"{peer.name} is not ready within {STARTS_WITHIN:g} s")
