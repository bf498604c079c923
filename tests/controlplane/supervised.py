"""A child process that ends with us, even when we are killed."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

# The shell waits for the program, and its second half for the end of our pipe: the kernel closes that
# when this process dies, however it dies. A program that lingers is killed then.
# (A background command reads /dev/null, so the pipe is kept as 3.)
_SHELL = """
exec 3<&0
"$@" 3<&- & program=$!
(cat <&3 >/dev/null; kill $program; sleep 10; kill -9 $program) 2>/dev/null & watcher=$!
wait $program; code=$?
kill $watcher 2>/dev/null
exit $code
"""
_PATIENCE = 10.0  # seconds for a program to end by itself
_START_LIMIT = 60.0  # seconds for a program to answer, on a machine that does much else
_START_TRIES = 3  # a port that was free may be taken before it is used
_PAUSE = 0.05  # seconds between two questions

Started = TypeVar("Started")


class NotStartedError(Exception):
    """Carry the name of a program that did not come up, and the end of its log."""


@dataclass(frozen=True)
class Supervised:
    """A running program, its log, and the pipe that keeps it alive."""

    shell: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, command: Sequence[str | Path], log: Path) -> Self:
        """Start a program in a session of its own; all that it prints is added to the log."""
        words = ["sh", "-c", _SHELL, "supervised", *(str(word) for word in command)]
        with log.open("ab") as sink:
            shell = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=sink, stderr=sink, start_new_session=True)
        return cls(shell, log)

    @property
    def has_ended(self) -> bool:
        """Answer whether the program is gone."""
        return self.shell.poll() is not None

    def stop(self) -> None:
        """Close the pipe, which ends the program, and wait for that; one that lingers over its requests is killed."""
        if self.shell.stdin:
            self.shell.stdin.close()
        try:
            self.shell.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.shell.pid, signal.SIGKILL)
            self.shell.wait(_PATIENCE)

    def ending(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def await_answer(self, answers: Callable[[], bool]) -> None:
        """Return when `answers()` is true; raise NotStartedError when the program ends or takes too long.

        The program is stopped when this raises, whatever it raises.
        """
        try:
            self._poll(answers)
        except BaseException:
            self.stop()
            raise

    def _poll(self, answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while not answers():
            if self.has_ended or time.monotonic() > deadline:
                raise NotStartedError(f"{self.log.stem} did not start:\n{self.ending()}")
            time.sleep(_PAUSE)


def first_that_starts(start: Callable[[], Started]) -> Started:
    """Call `start` until it does not raise NotStartedError, a few times at the most."""
    for _ in range(_START_TRIES - 1):
        try:
            return start()
        except NotStartedError:
            continue
    return start()


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
