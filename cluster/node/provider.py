"""The cluster where no Docker daemon is: the bare node, behind the interface that kind has too."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.images.naming import Image
from cluster.images.oci import read_digest
from cluster.node import bare
from cluster.node.processes import find_init
from cluster.node.reach import host_kubeconfig, inside, is_healthy
from cluster.node.spec import node_spec
from cluster.processes import run
from cluster.progress import Progress

_CTR = "ctr", "--namespace", "k8s.io", "images"


@dataclass(frozen=True)
class BareNode:
    """Runs a cluster of one node in namespaces of its own."""

    def up(self, name: str, progress: Progress) -> Path:
        """Start the node unless it is Ready, and return its kubeconfig."""
        spec = node_spec(name)
        bare.up(spec, progress)
        return host_kubeconfig(spec)

    def down(self, name: str, *, purge: bool = False) -> None:
        """End the node; none is no error. With `purge`, remove its logs and images too."""
        bare.check_possible()
        end = bare.purge if purge else bare.down
        end(node_spec(name))

    def is_up(self, name: str) -> bool:
        """Answer whether the node runs and is Ready."""
        spec = node_spec(name)
        return find_init(spec) is not None and is_healthy(spec)

    def kubeconfig(self, name: str) -> Path:
        """Return where the administrator's kubeconfig is kept."""
        return host_kubeconfig(node_spec(name))

    def load(self, images: Sequence[Image], name: str, progress: Progress) -> None:
        """Import the image archives that the node does not have, by digest."""
        present = self._present(name)
        missing = [image for image in images if present.get(image.reference) != read_digest(image.archive)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda image: self._import(image, name, progress), missing))

    def _import(self, image: Image, name: str, progress: Progress) -> None:
        with progress.step(f"load image {image.name}"):
            run(self.inside([*_CTR, "import", str(image.archive)], name))

    def inside(self, command: Sequence[str], name: str) -> list[str]:
        """Return the command line that runs a command in the node."""
        return inside(node_spec(name), command)

    def _present(self, name: str) -> dict[str, str]:
        rows = run(self.inside([*_CTR, "list"], name)).splitlines()[1:]
        return {columns[0]: columns[2] for row in rows if (columns := row.split())}
