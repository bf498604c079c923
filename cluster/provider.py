"""Which kind of cluster this machine can have."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cluster.errors import NotPossibleError, SettingError
from cluster.existing import VARIABLE, Existing
from cluster.images.builders import docker_answers
from cluster.images.naming import Image
from cluster.kind import Kind
from cluster.node.provider import BareNode
from cluster.progress import Progress

_CHOICE = "MODELRAMP_PROVIDER"


class Provider(Protocol):
    """A way to have a cluster; all methods take the cluster's name."""

    def up(self, name: str, progress: Progress) -> Path:
        """Have the cluster running and return its kubeconfig."""
        ...

    def down(self, name: str, *, purge: bool = False) -> None:
        """Take the cluster away; none is no error. With `purge`, take what the next one would use too."""
        ...

    def is_up(self, name: str) -> bool:
        """Answer whether the cluster answers."""
        ...

    def kubeconfig(self, name: str) -> Path:
        """Return where the administrator's kubeconfig is."""
        ...

    def load(self, images: Sequence[Image], name: str, progress: Progress) -> None:
        """Bring images into the node."""
        ...

    def inside(self, command: Sequence[str], name: str) -> list[str]:
        """Return the command line that runs a command in the node."""
        ...


def choose_provider() -> Provider:
    """Return the named existing cluster, else kind where Docker answers, else a bare node.

    Raises NotPossibleError where none of them can be, SettingError for a choice that does not exist.
    """
    named = os.environ.get(VARIABLE)
    match os.environ.get(_CHOICE, "") or ("existing" if named else ""):
        case "existing":
            return _existing(named)
        case "kind":
            return Kind()
        case "bare":
            return BareNode()
        case "":
            return _possible_here()
        case other:
            raise SettingError(f"{_CHOICE}={other}: use bare, kind or existing")


def _existing(named: str | None) -> Provider:
    if not named:
        raise SettingError(f"{_CHOICE}=existing: name the cluster's kubeconfig in {VARIABLE}")
    return Existing(Path(named).expanduser().absolute())


def _possible_here() -> Provider:
    if docker_answers():
        return Kind()
    if platform.system() == "Linux" and os.geteuid() == 0:
        return BareNode()
    raise NotPossibleError(
        f"no cluster can run here: start Docker, or become root on Debian, or name a kubeconfig in {VARIABLE}"
    )
