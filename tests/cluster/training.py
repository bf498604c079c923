"""The script that trains and registers the versions, run beside everything else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cluster import CommandError
from cluster.demo.background import end
from cluster.settings import log_file
from tests.cluster.scene import HERE, Scene

_SCRIPT = HERE / "model" / "train.py"


class Training:
    """Versions of the model as they come into the registry."""

    def __init__(self, scene: Scene) -> None:
        """Prepare; nothing is trained yet."""
        self._scene = scene
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._running: subprocess.Popen[str] | None = None

    def register(self, *versions: str) -> Future[dict[str, Any]]:
        """Train and register; the result is what the script said of each version, by version."""
        return self._pool.submit(self._run, versions)

    def stop(self) -> None:
        """End what still runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._running and self._running.poll() is None:
            end(self._running)

    def _run(self, versions: tuple[str, ...]) -> dict[str, Any]:
        command = [sys.executable, str(_SCRIPT), *versions]
        environment = os.environ | {"MLFLOW_TRACKING_URI": self._scene.mlflow, "PYTHONWARNINGS": "ignore"}
        log = log_file(f"tests-train-v{'-'.join(versions)}")
        with tempfile.TemporaryDirectory() as folder, log.open("w") as errors:
            self._running = process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )  # fmt: skip
            self._scene.reaper.adopt(process.pid)
            said, _ = process.communicate()
            self._scene.reaper.forget(process.pid)
        if process.returncode:
            raise CommandError(" ".join(command[1:]), process.returncode, log.read_text()[-500:], log)
        return {line["version"]: line for line in map(json.loads, said.splitlines())}
