"""The operator as a process: `python -m modelramp run`, configured by its environment, killed, frozen, told to end."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.whole.forked import ForkedProcess

_DIE_WITH_PARENT = 1  # prctl(PR_SET_PDEATHSIG)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class OperatorProcess:
    """One life of an operator; its log is one JSON object a line."""

    process: asyncio.subprocess.Process | ForkedProcess
    log: Path
    probe_port: int

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Tell whether it has not ended."""
        return self.process.returncode is None

    async def until_up(self) -> None:
        """Wait until it answers its probes or has ended."""
        while self.runs:
            with suppress(OSError):
                await asyncio.to_thread(_read, f"http://127.0.0.1:{self.probe_port}/healthz")
                return
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self.send(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self) -> int:
        """Ask it to end as the kubelet does, and return the exit code."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        return await self.process.wait()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def said(self) -> list[dict[str, Any]]:
        """Return what it logged; a line that is no JSON comes as a message."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) if line.startswith("{") else {"message": line} for line in lines if line]

    async def metrics(self) -> dict[str, float]:
        """Return its own metrics, by series."""
        text = await asyncio.to_thread(_read, f"http://127.0.0.1:{self.probe_port}/metrics")
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the process so far, user and system, without its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mib(self) -> float:
        """Return the memory that it holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@asynccontextmanager
async def running_operator(
    environment: Mapping[str, str], log: Path, probe_port: int, *, forked: bool = False
) -> AsyncIterator[OperatorProcess]:
    """Start an operator; it is killed at the end of the block if it still runs, and when this process dies.

    With `forked` it begins with everything imported.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MODELRAMP_", "MLFLOW_", "KUBE", "POD_"))
    }
    variables = {**inherited, **environment, "MODELRAMP_PROBE_PORT": str(probe_port)}
    process = ForkedProcess(variables, log) if forked else await _started(variables, log)
    operator = OperatorProcess(process, log, probe_port)
    try:
        yield operator
    finally:
        if operator.runs:
            await operator.kill()


async def _started(environment: Mapping[str, str], log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as sink:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modelramp", "run",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=log.parent,
            preexec_fn=_die_with_parent,
        )  # fmt: skip


@dataclass(frozen=True)
class Child:
    """A process that another has started."""

    pid: int
    command: str


def children_of(pid: int) -> list[Child]:
    """Return the processes that one has started, by the kernel's own books."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Child(int(found), Path(f"/proc/{found}/comm").read_text().strip()) for found in pids]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
