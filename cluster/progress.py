"""What the user sees while things are built and started: a live list on a terminal, plain lines elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TextIO

from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn


class Progress(Protocol):
    """Show steps that begin and end, from several threads at once."""

    def step(self, title: str) -> AbstractContextManager[None]:
        """Show a step for as long as the block runs."""
        ...

    def done(self, title: str, seconds: float) -> None:
        """Show a step that has ended."""
        ...


class Lines:
    """Print a line when a step begins and one when it ends."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._print(f"  ... {title}")
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self._print(f"  failed {title} ({time.monotonic() - started:.1f} s)")
            raise
        self.done(title, time.monotonic() - started)

    def done(self, title: str, seconds: float) -> None:
        self._print(f"  ok  {title} ({seconds:.1f} s)")

    def _print(self, line: str) -> None:
        with self._lock:
            print(line, file=self._stream, flush=True)


class Silent:
    """Show nothing: for callers that have their own display."""

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        del title
        yield

    def done(self, title: str, seconds: float) -> None:
        del title, seconds


class Live:
    """Show running steps with a spinner and their seconds; ended steps stay above as lines."""

    def __init__(self) -> None:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        self._bars = Bars(*columns, transient=True)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the list on the terminal while the block runs."""
        with self._bars:
            yield

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        row = self._bars.add_task(title, total=None)
        started = time.monotonic()
        try:
            yield
        finally:
            self._bars.remove_task(row)
        self.done(title, time.monotonic() - started)

    def done(self, title: str, seconds: float) -> None:
        self._bars.console.print(f"  [green]ok[/green]  {title} [dim]{seconds:.1f} s[/dim]", highlight=False)


@contextlib.contextmanager
def shown_progress() -> Iterator[Progress]:
    """Choose the display by where the output goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    live = Live()
    with live.shown():
        yield live
