"""Operators that begin with everything imported: where a test starts fifty, imports are two thirds of its processor."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from modelramp.cli import main

_PREPARED = "tests.whole.prepared"
_LOOK = 0.02  # seconds


class ForkedProcess:
    """A process of its own, forked from one that has imported the operator; speaks as a child of asyncio does."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        """Start it, with this environment and no other."""
        log.touch()
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload([_PREPARED])
        self._process: ForkServerProcess = forks.Process(target=_run, args=(dict(environment), log))
        self._process.start()

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal. Raises ProcessLookupError where it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        while (code := self.returncode) is None:  # noqa: ASYNC110 no bell
            await asyncio.sleep(_LOOK)
        return code


def _run(environment: dict[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(log.parent)
    sink = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(sink, stream)
    sys.exit(main(["run"]))
