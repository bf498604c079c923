"""The node's processes as the host sees them, found by their command lines: a lost pid file loses nothing."""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from cluster.errors import ClusterError
from cluster.node.spec import NodeSpec
from cluster.processes import find_processes

_DEATH_LIMIT = 20_000  # milliseconds for a killed process to be gone


def find_init(spec: NodeSpec) -> int | None:
    """Return the host's id of the node's PID 1, or None when the node does not run."""
    for pid in find_processes("modelramp-node", str(spec.directory)):
        with suppress(OSError):
            if _innermost_id(pid) == 1:
                return pid
    return None


def _innermost_id(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])


def kill_all(spec: NodeSpec) -> None:
    """Kill the node's PID 1, with it all that runs in the node, its launcher, and the host's end of the API socket."""
    own = *find_processes("modelramp-node", str(spec.directory)), *find_processes(forwarder_word(spec))
    for handle in [handle for pid in own if (handle := _kill(pid)) is not None]:
        _await_end(handle)


def forwarder_word(spec: NodeSpec) -> str:
    """Return the word by which the host's forwarder to the API socket is known."""
    return f"UNIX-CONNECT:{spec.directory}/run/api.sock"


def _kill(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return handle
    return None


def _await_end(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    ended = poll.poll(_DEATH_LIMIT)
    os.close(handle)
    if not ended:
        raise ClusterError("a process of the node does not end; it hangs in the kernel")
