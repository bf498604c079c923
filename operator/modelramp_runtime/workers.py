"""Several processes of one model behind one port: forked from one that has loaded it, so that they share its memory.

They live and die together. A worker that ends unasked takes the others with it, after they have drained: counters
that went on without its share would show rates that never were, and a pod that fails is something that Kubernetes
knows how to tell.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from modelramp_runtime.farewell import say_last
from modelramp_runtime.logs import fields
from modelramp_runtime.siblings import Siblings

LOG = logging.getLogger("modelramp.workers")
_PR_SET_PDEATHSIG = 1
Work = Callable[[Siblings], int]


def run_workers(count: int, work: Work) -> int:
    """Run `work` in that many processes until all have ended; return the exit status."""
    _warn_of_threads()
    # Objects that the collector never looks at again stay on pages that are never copied.
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="workers-") as directory:
        crew = Crew()
        for number in range(count):
            crew.begin(work, Siblings(number, count, Path(directory)))
        return crew.wait()


def _warn_of_threads() -> None:
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        why = "the model runs threads, which workers do not inherit: if they never get ready, set MODELRAMP_PRELOAD=no"
        LOG.warning(why, extra=fields(threads=threads))


class Crew:
    """The processes, as their parent sees them."""

    def __init__(self) -> None:
        self._pids: dict[int, int] = {}
        self._is_ending = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def begin(self, work: Work, siblings: Siblings) -> None:
        """Fork one worker; it never returns from here."""
        if self._is_ending:
            return
        parent = os.getpid()
        if pid := os.fork():
            self._pids[pid] = siblings.number
            return
        status = 1
        try:
            _go_with(parent)
            status = work(siblings)
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            LOG.exception("worker %s failed", siblings.number)
        finally:
            logging.shutdown()
            sys.stdout.flush()
            os._exit(status)

    def wait(self) -> int:
        """Wait for every worker; return 0 where all ended because they were told to."""
        result = 0
        while self._pids:
            pid, how = os.wait()
            number = self._pids.pop(pid, None)
            code = os.waitstatus_to_exitcode(how)
            if number is None or (self._is_ending and not code):
                continue
            result = result or say_last(f"worker {number} ended with {_shown(code)}; the pod ends with it")
            if not self._is_ending:
                self._end(signal.SIGTERM)
        return result

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self._end(number)

    def _end(self, number: int) -> None:
        self._is_ending = True
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _shown(code: int) -> str:
    return f"status {code}" if code >= 0 else signal.Signals(-code).name


def _go_with(parent: int) -> None:
    """End when the parent ends, however that is."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
