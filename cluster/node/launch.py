"""Start the node's PID 1 and follow its phases."""

import subprocess
import time
from typing import TextIO, cast

from cluster.errors import ClusterError
from cluster.node.spec import NodeSpec
from cluster.processes import ending
from cluster.progress import Progress
from cluster.settings import SOURCE

_READY = "ready"


def launch(spec: NodeSpec) -> TextIO:
    """Start the node and return the pipe by which its phases come.

    It gets a session of its own, so that Ctrl-C reaches us and not it.
    """
    script = SOURCE / "node" / "launch.sh"
    with (spec.directory / "log" / "launch.log").open("w") as log:
        starter = subprocess.Popen(
            ["setsid", "--fork", "bash", script, "modelramp-node", spec.directory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    starter.wait()
    assert starter.stdout
    return cast("TextIO", starter.stdout)


def await_ready(phases: TextIO, spec: NodeSpec, progress: Progress) -> None:
    """Show each phase as it is done; raise ClusterError with the log's end when the node ends before it is ready."""
    began = time.monotonic()
    with phases, progress.step(f"start node {spec.name}"):
        for line in phases:
            if line.strip() == _READY:
                return
            progress.done(f"  {line.strip()}", time.monotonic() - began)
            began = time.monotonic()
        raise ClusterError(f"the node did not start (logs: {spec.directory / 'log'})\n{_last_words(spec)}")


def _last_words(spec: NodeSpec) -> str:
    logs = [spec.directory / "log" / name for name in ("launch.log", "init.log")]
    return ending("".join(path.read_text() for path in logs if path.exists()))
