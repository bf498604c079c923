"""What there is on this machine of the tests' cluster."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster.settings import node_directory
from tests.cluster.scene import CLUSTER


@dataclass(frozen=True)
class Machine:
    """Everything that a cluster could leave behind."""

    processes: frozenset[str]
    mounts: frozenset[str]
    cgroups: frozenset[str]
    containers: frozenset[str]
    links: frozenset[str]
    """All network interfaces, whoever made them."""


def look() -> Machine:
    """Read what is there now."""
    folder = f"{node_directory(CLUSTER)}/"
    mounts = Path("/proc/self/mounts").read_text().splitlines() if Path("/proc/self/mounts").exists() else []
    return Machine(
        processes=_processes(folder),
        mounts=frozenset(line for line in mounts if folder in line),
        cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").rglob(f"modelramp-{CLUSTER}")),
        containers=_containers(),
        links=frozenset(path.name for path in Path("/sys/class/net").iterdir()),
    )


def _processes(folder: str) -> frozenset[str]:
    """Return the command lines of processes that name the cluster's folder, in their words or in their environment."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if folder in words or folder.encode() in (path / "environ").read_bytes():
                found.add(f"{path.name} {words}")
    return frozenset(found)


def _containers() -> frozenset[str]:
    if not shutil.which("docker"):
        return frozenset()
    command = ["docker", "ps", "--all", "--format={{.Names}}", f"--filter=name={CLUSTER}"]
    return frozenset(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())
