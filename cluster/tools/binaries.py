"""Build the pinned binaries once; the cache's key is what went into them."""

import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.processes import Command, exclusive, run
from cluster.progress import Progress, Silent
from cluster.settings import SOURCE, cache_directory, log_file
from cluster.tools.golang import Go, find_go, required_version

# No debug information is written that the linker would drop again, and garbage is collected late: an eighth less time.
_BUILD_FLAGS = "-mod=readonly -trimpath -buildvcs=false -gcflags=all=-dwarf=false"
_COLLECT_LATE = "400"
_KEY_LENGTH = 16


@dataclass(frozen=True)
class Binary:
    """One program: the folder of its module, the package to build, how its version is stamped in."""

    name: str
    module: str
    package: str = "."
    stamp: str = ""  # the Go variable that holds the version
    versioned_by: str = ""  # the required Go module whose version that is
    tags: str = ""

    @property
    def folder(self) -> Path:
        """Return the checked-in Go module."""
        return SOURCE / "tools" / self.module


def _kubernetes(name: str) -> Binary:
    return Binary(
        name,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        stamp="k8s.io/component-base/version.gitVersion",
        versioned_by="k8s.io/kubernetes",
    )


# In this order: what others wait for first.
BINARIES: Mapping[str, Binary] = {
    binary.name: binary
    for binary in (
        Binary("etcd", module="etcd", package="go.etcd.io/etcd/server/v3"),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kubelet"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kube-proxy"),
        _kubernetes("kubectl"),
        Binary("pause", module="pause"),
        Binary("coredns", module="coredns"),
        Binary(
            "prometheus",
            module="prometheus",
            package="github.com/prometheus/prometheus/cmd/prometheus",
            tags="remove_all_sd,enable_kubernetes_sd,netgo",
        ),
        Binary(
            "helm",
            module="helm",
            package="helm.sh/helm/v3/cmd/helm",
            stamp="helm.sh/helm/v3/internal/version.version",
            versioned_by="helm.sh/helm/v3",
        ),
        Binary("kind", module="kind", package="sigs.k8s.io/kind"),
        Binary("kstatus", module="kstatus"),
        Binary("envoy-gateway", module="envoygateway", package="github.com/envoyproxy/gateway/cmd/envoy-gateway"),
    )
}


def build_binaries(names: Iterable[str], progress: Progress | None = None) -> dict[str, Path]:
    """Return the path of each named binary, built when the cache has none for its content.

    One at a time, whoever asks: `go build` uses every core, and two would compile shared packages twice.
    """
    shown = progress or Silent()
    return {name: _built(BINARIES[name], shown) for name in names}


def _built(binary: Binary, progress: Progress) -> Path:
    go = find_go(required_version(binary.folder))
    folder = cache_directory() / "bin" / f"{binary.name}-{content_key(binary, go)}"
    target = folder / binary.name
    if target.exists():
        return target
    with exclusive(cache_directory() / "locks" / "compile"):
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with progress.step(f"compile {binary.name}"):
                _compile(binary, go, target)
    return target


def content_key(binary: Binary, go: Go) -> str:
    """Hash the module's files, the build's flags, the Go version and the machine's architecture."""
    digest = hashlib.sha256()
    for path in sorted(binary.folder.iterdir()):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    facts = binary.package, *_options(binary), _BUILD_FLAGS, go.version, platform.machine()
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()[:_KEY_LENGTH]


def _options(binary: Binary) -> tuple[str, ...]:
    flags = ["-s", "-w"]
    if binary.stamp:
        flags += ["-X", f"{binary.stamp}={required_module(binary.folder, binary.versioned_by)}"]
    return "-tags", binary.tags, "-ldflags", " ".join(flags)


def required_module(folder: Path, module: str) -> str:
    """Read the version of a required module from go.mod."""
    line = rf"^(?:require)?\s*{re.escape(module)} (v\S+)"
    found = re.search(line, (folder / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise ValueError(f"{folder / 'go.mod'}: does not require {module}")
    return found[1]


def _compile(binary: Binary, go: Go, target: Path) -> None:
    unfinished = target.with_suffix(".unfinished")
    command: Command = ("nice", "-n", "5", go.command, "build", *_options(binary), "-o", unfinished, binary.package)
    choices = {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    environment = choices | {"GOFLAGS": _BUILD_FLAGS, "GOGC": _COLLECT_LATE}
    run(command, cwd=binary.folder, env=environment, log=log_file(f"compile-{binary.name}"))
    unfinished.rename(target)
