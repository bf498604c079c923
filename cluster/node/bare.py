"""Bring a bare node up and down."""

import os
import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.errors import NotPossibleError
from cluster.images.catalog import NODE_IMAGES, build_images
from cluster.node.certificates import write_credentials
from cluster.node.cgroups import make_cgroups, node_cgroups, remove_cgroups
from cluster.node.configuration import write_configuration
from cluster.node.launch import await_ready, launch
from cluster.node.packages import NODE_PACKAGES, ensure_packages
from cluster.node.processes import find_init, kill_all
from cluster.node.reach import forward_api, is_healthy
from cluster.node.spec import NodeSpec
from cluster.processes import exclusive
from cluster.progress import Progress
from cluster.settings import cache_directory
from cluster.tools.binaries import build_binaries

_BINARIES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
    "coredns",
    "pause",
)
# containerd's store of images survives: the next node of this name starts with them, like a machine after a reboot.
_KEPT = "log", "containerd"


def up(spec: NodeSpec, progress: Progress) -> None:
    """Start the node and wait until it is Ready; a healthy one is kept as it is.

    Whatever ends this early, Ctrl-C too, takes the unfinished node away.
    """
    check_possible()
    with exclusive(_lock(spec)):
        if find_init(spec) and is_healthy(spec):
            return
        _remove(spec)
        try:
            _start(spec, progress)
        except BaseException:
            _remove(spec)
            raise


def down(spec: NodeSpec) -> None:
    """End the node: its processes, mounts, interfaces, cgroups and state; its logs and its images stay."""
    with exclusive(_lock(spec)):
        _remove(spec)


def purge(spec: NodeSpec) -> None:
    """End the node and remove its logs and images too."""
    with exclusive(_lock(spec)):
        _remove(spec)
        shutil.rmtree(spec.directory, ignore_errors=True)


def check_possible() -> None:
    """Raise NotPossibleError unless this process may make namespaces here."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise NotPossibleError("a bare node needs root on Linux")


def _lock(spec: NodeSpec) -> Path:
    return cache_directory() / "locks" / f"node-{spec.name}"


def _start(spec: NodeSpec, progress: Progress) -> None:
    binaries = _prepare(progress)
    _lay_out(spec, binaries)
    write_credentials(spec)
    write_configuration(spec, build_images(NODE_IMAGES, progress))
    cgroups = node_cgroups(spec.name)
    # The list comes first: `down` must find what a killed `up` has made.
    (spec.directory / "run" / "cgroups").write_text("".join(f"{path}\n" for path in cgroups))
    make_cgroups(cgroups)
    await_ready(launch(spec), spec, progress)
    forward_api(spec)


def _prepare(progress: Progress) -> dict[str, Path]:
    with ThreadPoolExecutor() as pool:
        packages = pool.submit(ensure_packages, NODE_PACKAGES, progress)
        binaries = pool.submit(build_binaries, _BINARIES, progress)
        packages.result()
        return binaries.result()


def _lay_out(spec: NodeSpec, binaries: dict[str, Path]) -> None:
    for name in ("bin", "etc", "log", "run", "containerd", "state/kubelet", "state/cni"):
        (spec.directory / name).mkdir(parents=True, exist_ok=True)
    for name in ("pods", "containers"):
        (spec.directory / "state" / "log" / name).mkdir(parents=True)
    for name, path in binaries.items():
        (spec.directory / "bin" / name).symlink_to(path)


def _remove(spec: NodeSpec) -> None:
    kill_all(spec)
    recorded = spec.directory / "run" / "cgroups"
    if recorded.exists():
        remove_cgroups([Path(line) for line in recorded.read_text().splitlines()])
    if not spec.directory.exists():
        return
    for path in spec.directory.iterdir():
        if path.is_file():
            path.unlink()
        elif path.name not in _KEPT:
            shutil.rmtree(path)
