"""Other programs: run them, keep their output, find them again by their command line."""

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cluster.errors import CommandError

_ENDING_LINES = 15
_SHOWN_WORDS = 6

Command = Sequence[str | Path]


def run(
    command: Command,
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Run a command to its end and return its output; with `log`, all output goes there instead.

    Raises CommandError with the last lines of the output when the exit code is not 0.
    """
    words = [str(word) for word in command]
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(log.open("w")) if log else subprocess.PIPE
        done = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=stdin,
            stdout=sink,
            stderr=sink,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode:
        printed = log.read_text(errors="replace") if log else done.stderr + done.stdout
        raise CommandError(" ".join(words[:_SHOWN_WORDS]), done.returncode, ending(printed), log)
    return done.stdout or ""


def ending(text: str) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.splitlines()[-_ENDING_LINES:])


def succeeds(command: Command, env: Mapping[str, str] | None = None) -> bool:
    """Answer whether a command exists and exits with 0."""
    try:
        run(command, env=env)
    except (CommandError, FileNotFoundError):
        return False
    return True


def find_processes(*words: str) -> tuple[int, ...]:
    """Return the ids of the processes whose command line holds these words, one after the other."""
    return tuple(pid for pid, argv in _command_lines() if _contains(argv, words))


def _command_lines() -> Iterator[tuple[int, tuple[str, ...]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield int(folder.name), tuple(argv[:-1])


def _contains(argv: tuple[str, ...], words: tuple[str, ...]) -> bool:
    return any(argv[start : start + len(words)] == words for start in range(len(argv) - len(words) + 1))


@contextlib.contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock file, waiting for another process that has it; the kernel frees it if we are killed."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
