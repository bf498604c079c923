"""The example's training script, which registers versions of the model in the cluster's MLflow."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

from cluster.demo.background import Reaper, end
from cluster.demo.names import EXAMPLE
from cluster.errors import CommandError
from cluster.settings import cache_directory, log_file

_REGISTERED = re.compile(r"^\S+ v(\d+)", re.MULTILINE)


class Training:
    """Trains v1, v2 and v3 beside everything else; later acts wait for what they need of it."""

    def __init__(self, mlflow: str, reaper: Reaper) -> None:
        """Take the registry's address."""
        self._mlflow, self._reaper = mlflow, reaper
        self._log = log_file("demo-train")
        self._said: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    @contextlib.contextmanager
    def going_on(self) -> Iterator["Training"]:
        """Train while the block runs."""
        command = [sys.executable, str(EXAMPLE / "train.py")]
        environment = os.environ | {"MLFLOW_TRACKING_URI": self._mlflow}
        with self._log.open("w") as errors:
            self._process = process = subprocess.Popen(
                command, env=environment, cwd=cache_directory(), stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )  # fmt: skip
        self._reaper.adopt(process.pid)
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        try:
            yield self
        finally:
            if process.poll() is None:
                end(process)
            self._reaper.forget(process.pid)

    def has_registered(self, version: str) -> bool:
        """Tell whether a version is in the registry. Raises CommandError when the script has failed."""
        if self._process and self._process.poll():
            ending = "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
            raise CommandError("train.py", self._process.returncode, ending, self._log)
        return version in _REGISTERED.findall("".join(self._said))

    @property
    def said(self) -> list[str]:
        """Return the lines that the script has printed."""
        return [line.rstrip() for line in self._said]

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self._said.append(line)
