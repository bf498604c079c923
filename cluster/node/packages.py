"""The Debian packages that a bare node and the image builds need."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cluster.errors import NotPossibleError
from cluster.processes import exclusive, run
from cluster.progress import Progress
from cluster.settings import cache_directory, log_file

CNI_PLUGINS = Path("/usr/lib/cni/bridge")
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"

# What to look for, and the package that has it.
NODE_PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    str(CNI_PLUGINS): "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "socat": "socat",
    "ip": "iproute2",
    "openssl": "openssl",
}
BUILD_PACKAGES: Mapping[str, str] = {"debootstrap": "debootstrap", "buildah": "buildah"}

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# modelramp: no daemon is started while packages are installed\nexit 101\n"


def ensure_packages(wanted: Mapping[str, str], progress: Progress) -> None:
    """Install what is missing, starting no daemon; raises NotPossibleError on a machine without apt-get."""
    with exclusive(cache_directory() / "locks" / "packages"):
        missing = missing_packages(wanted)
        if not missing:
            return
        if not shutil.which("apt-get"):
            raise NotPossibleError(f"install these first (Debian's names): {', '.join(missing)}")
        with progress.step(f"install {', '.join(missing)}"), _no_daemon_started():
            _install(missing)


def missing_packages(wanted: Mapping[str, str]) -> list[str]:
    """Return the packages whose program or file is not there."""
    return sorted({package for program, package in wanted.items() if not _is_there(program)})


def _is_there(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ['PATH']}:{_SYSTEM_PATH}") is not None


def _install(packages: Iterable[str]) -> None:
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-q", "-y"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run([*apt, "update"], env=quiet, log=log_file("apt-update"))
    run([*apt, "install", "--no-install-recommends", *packages], env=quiet, log=log_file("apt-install"))


@contextlib.contextmanager
def _no_daemon_started() -> Iterator[None]:
    if _POLICY.exists() and _POLICY.read_text() != _POLICY_TEXT:
        yield  # somebody else's policy stands
        return
    _POLICY.write_text(_POLICY_TEXT)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
