"""The node's cgroups: children of the caller's own, in every v1 hierarchy."""

import contextlib
import time
from pathlib import Path

from cluster.errors import ClusterError, NotPossibleError

_ROOT = Path("/sys/fs/cgroup")
_REMOVAL_LIMIT = 10.0  # seconds: the kernel removes them some time after the last process
_CPUSET_FILES = "cpuset.cpus", "cpuset.mems"  # a new cpuset is empty and takes no process


def node_cgroups(name: str) -> list[Path]:
    """Return the folders of a node's cgroups, one per v1 hierarchy that this process is in."""
    folders = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controller, path = line.split(":", 2)
        if controller:  # the v2 hierarchy has none
            folders.append(_ROOT / controller.removeprefix("name=") / path.strip("/") / f"modelramp-{name}")
    if not folders or not all(folder.parent.is_dir() for folder in folders):
        raise NotPossibleError(f"a bare node needs cgroup v1 at {_ROOT}; on this machine start Docker instead")
    return folders


def make_cgroups(folders: list[Path]) -> None:
    """Make the folders; cpusets get their parent's processors and memory."""
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in _CPUSET_FILES:
            if (folder / name).exists():
                (folder / name).write_text((folder.parent / name).read_text())


def remove_cgroups(folders: list[Path]) -> None:
    """Remove the folders and all below them; their processes are dead already."""
    deadline = time.monotonic() + _REMOVAL_LIMIT
    while left := [folder for folder in folders if not _removed(folder)]:
        if time.monotonic() > deadline:
            raise ClusterError(f"these cgroups are still in use: {', '.join(map(str, left))}")
        time.sleep(0.05)


def _removed(folder: Path) -> bool:
    children = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    with contextlib.suppress(OSError):
        for path in (*children, folder):
            path.rmdir()
    return not folder.exists()
