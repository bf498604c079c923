"""python -m cluster.demo.reaper NAME: read what to end; when the input ends without "done", end it all."""

import contextlib
import os
import signal
import sys

from cluster.lifecycle import down


def main() -> None:
    """Wait until the demo has ended, however it did."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    children: set[int] = set()
    for line in sys.stdin:
        word, _, pid = line.strip().partition(" ")
        if word == "done":
            return
        (children.add if word == "child" else children.discard)(int(pid))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
    down(sys.argv[1])


if __name__ == "__main__":
    main()
