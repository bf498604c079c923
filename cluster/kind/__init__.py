"""The cluster where a Docker daemon answers: kind, the same commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.images.naming import Image
from cluster.processes import Command, run, succeeds
from cluster.progress import Progress
from cluster.settings import SOURCE, log_file, node_directory
from cluster.tools.binaries import build_binaries

_CONFIG = SOURCE / "kind" / "config.yaml"


@dataclass(frozen=True)
class Kind:
    """Runs a cluster of one node in a container."""

    def up(self, name: str, progress: Progress) -> Path:
        """Create the cluster unless it answers, and return its kubeconfig."""
        path = self.kubeconfig(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.is_up(name):
            _kind(["export", "kubeconfig", "--name", name, "--kubeconfig", path])
            return path
        self.down(name)
        with progress.step(f"create kind cluster {name}"):
            create: Command = ["create", "cluster", "--name", name, "--config", _CONFIG, "--kubeconfig", path]
            try:
                _kind([*create, "--wait", "120s"], log=log_file(f"kind-{name}"))
            except BaseException:
                self.down(name)
                raise
        return path

    def down(self, name: str, *, purge: bool = False) -> None:
        """Delete the cluster, images and all; none is no error."""
        del purge
        _kind(["delete", "cluster", "--name", name])
        self.kubeconfig(name).unlink(missing_ok=True)

    def is_up(self, name: str) -> bool:
        """Answer whether the cluster exists and its API answers."""
        if name not in _kind(["get", "clusters"]).split():
            return False
        asked = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "--raw=/readyz"]
        return succeeds(["docker", "exec", _container(name), *asked])

    def kubeconfig(self, name: str) -> Path:
        """Return where the administrator's kubeconfig is kept."""
        return node_directory(name) / "kubeconfig"

    def load(self, images: Sequence[Image], name: str, progress: Progress) -> None:
        """Copy image archives into the node; kind skips none, containerd shares what it has."""
        for image in images:
            with progress.step(f"load image {image.name}"):
                _kind(["load", "image-archive", image.archive, "--name", name])

    def inside(self, command: Sequence[str], name: str) -> list[str]:
        """Return the command line that runs a command in the node."""
        if not self.is_up(name):
            raise ClusterError(f"cluster {name} is not up; run: python -m cluster up --name {name}")
        return ["docker", "exec", "--interactive", _container(name), *command]


def _container(name: str) -> str:
    return f"{name}-control-plane"


def _kind(arguments: Command, log: Path | None = None) -> str:
    return run([build_binaries(["kind"])["kind"], *arguments], log=log)
