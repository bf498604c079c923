"""What demo and tests call: a cluster comes up, takes images, answers, goes down."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.images.naming import Image
from cluster.processes import run
from cluster.progress import Progress, Silent
from cluster.provider import choose_provider
from cluster.settings import DEFAULT_NAME
from cluster.tools.binaries import build_binaries
from cluster.tools.kubectl import find_kubectl


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers, and the administrator's way into it."""

    name: str
    kubeconfig: Path

    def environment(self) -> dict[str, str]:
        """Return the variables with which kubectl, helm and Python clients find this cluster and no other."""
        folders = [str(find_kubectl().parent), os.environ["PATH"]]
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": os.pathsep.join(folders)}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return its output; raises CommandError."""
        return run([find_kubectl(), "--kubeconfig", self.kubeconfig, *arguments], stdin=stdin)

    def helm(self, *arguments: str) -> str:
        """Run the pinned helm as the administrator and return its output; raises CommandError."""
        return run([build_binaries(["helm"])["helm"], "--kubeconfig", self.kubeconfig, *arguments])


def up(name: str = DEFAULT_NAME, progress: Progress | None = None) -> Cluster:
    """Have a cluster running and return it; one that answers is kept as it is.

    Raises NotPossibleError where no cluster can be, ClusterError when it does not start.
    """
    return Cluster(name, choose_provider().up(name, progress or Silent()))


def connect(name: str = DEFAULT_NAME) -> Cluster:
    """Return a cluster that is up; raises ClusterError when it is not."""
    provider = choose_provider()
    if not provider.is_up(name):
        raise ClusterError(f"cluster {name} is not up; run: python -m cluster up --name {name}")
    return Cluster(name, provider.kubeconfig(name))


def down(name: str = DEFAULT_NAME, *, purge: bool = False) -> None:
    """Take the cluster away; none is no error.

    Its logs, and on a bare node the images that it has, stay for the next one unless `purge` is set.
    """
    choose_provider().down(name, purge=purge)


def load(images: Sequence[Image], name: str = DEFAULT_NAME, progress: Progress | None = None) -> None:
    """Bring images into the cluster's node; those that it has already cost nothing."""
    choose_provider().load(images, name, progress or Silent())


def exec_in_node(command: Sequence[str], name: str = DEFAULT_NAME) -> str:
    """Run a command on the node, where pod and Service addresses can be reached; return its output."""
    return run(choose_provider().inside(command, name))
