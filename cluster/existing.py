"""A cluster that somebody else runs: used only when its kubeconfig is named, never changed by up or down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import NotPossibleError, SettingError
from cluster.images.naming import Image
from cluster.processes import succeeds
from cluster.progress import Progress
from cluster.tools.kubectl import find_kubectl

VARIABLE = "KUBECONFIG_FOR_DEMO"


@dataclass(frozen=True)
class Existing:
    """Uses the cluster of one kubeconfig."""

    path: Path

    def up(self, name: str, progress: Progress) -> Path:
        """Return the kubeconfig when its cluster answers; raises SettingError otherwise."""
        del progress
        if not self.path.is_file():
            raise SettingError(f"{VARIABLE}={self.path}: no such file")
        if not self.is_up(name):
            raise SettingError(f"{VARIABLE}={self.path}: its cluster does not answer")
        return self.path

    def down(self, name: str, *, purge: bool = False) -> None:
        """Do nothing: the cluster is not ours."""

    def is_up(self, name: str) -> bool:
        """Answer whether the API answers."""
        del name
        return succeeds([find_kubectl(), "--kubeconfig", self.path, "--request-timeout=5s", "get", "--raw=/readyz"])

    def kubeconfig(self, name: str) -> Path:
        """Return the named kubeconfig."""
        del name
        return self.path

    def load(self, images: Sequence[Image], name: str, progress: Progress) -> None:
        """Refuse: the nodes are not ours."""
        del name, progress
        names = ", ".join(image.reference for image in images)
        raise NotPossibleError(f"push {names} to a registry that the cluster of {VARIABLE} pulls from")

    def inside(self, command: Sequence[str], name: str) -> list[str]:
        """Refuse: the nodes are not ours."""
        del command, name
        raise NotPossibleError(f"no command runs on the nodes of the cluster of {VARIABLE}")
