"""Programs that run beside the demo, and what ends everything even if the demo is killed."""

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cluster.errors import ClusterError
from cluster.settings import REPOSITORY, cache_directory, log_file

_ANSWERS_WITHIN = 15.0  # seconds
_ENDS_WITHIN = 5.0
_PORT = re.compile(r"127\.0\.0\.1:(\d+)")


@contextlib.contextmanager
def alone() -> Iterator[int]:
    """Hold this machine's only demo while the block runs; raises ClusterError where another one does.

    Gives the lock's descriptor: whoever inherits it holds the lock on.
    """
    path = cache_directory() / "locks" / "demo"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError("another demo runs on this machine, with a cluster of the same name") from None
        yield handle.fileno()


class Reaper:
    """A process of its own that takes the cluster away should this one be gone without having said goodbye."""

    def __init__(self, cluster: str, *inherited: int) -> None:
        """Start it; it keeps these descriptors open, such as a lock that must outlive us."""
        command = [sys.executable, "-m", "cluster.demo.reaper", cluster]
        # A session of its own: Ctrl-C is for us, and the end of our terminal must not be its end.
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, start_new_session=True, text=True, pass_fds=inherited
        )

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def adopt(self, pid: int) -> None:
        """Have it end this process too."""
        self._say(f"child {pid}")

    def forget(self, pid: int) -> None:
        """Tell it that this process has ended."""
        self._say(f"ended {pid}")

    def dismiss(self) -> None:
        """Tell it that there is nothing left to do."""
        self._say("done")
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def _say(self, word: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()


@contextlib.contextmanager
def serving(command: Sequence[str], environment: Mapping[str, str], reaper: Reaper) -> Iterator[int]:
    """Run `kubectl proxy` or `kubectl port-forward` while the block runs; gives the port of the loopback."""
    log = log_file(f"demo-{command[1]}")
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, env=dict(environment), stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    reaper.adopt(process.pid)
    try:
        yield _port_of(process, command, log)
    finally:
        end(process)
        reaper.forget(process.pid)


def end(process: subprocess.Popen[str]) -> None:
    """End a program of ours and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ENDS_WITHIN)
        return
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_descendants(spared: int) -> None:
    """End what our threads have started and not finished, such as compilers; not the process that is spared."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    for pid in parents:
        if _descends(pid, os.getpid(), parents) and not _descends(pid, spared, parents):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _descends(pid: int, ancestor: int, parents: Mapping[int, int]) -> bool:
    while pid in parents and pid != ancestor:
        pid = parents[pid]
    return pid == ancestor


def _port_of(process: subprocess.Popen[str], command: Sequence[str], log: Path) -> int:
    assert process.stdout
    deadline = time.monotonic() + _ANSWERS_WITHIN
    while select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        line = process.stdout.readline()
        if found := _PORT.search(line):
            return int(found[1])
        if not line:
            break
    raise ClusterError(f"{' '.join(command[:3])} did not start (log: {log})\n{log.read_text()}")
