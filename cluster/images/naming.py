"""What an image is called, what it is hashed from, and where its archive lies."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.progress import Progress
from cluster.settings import cache_directory

_KEY_LENGTH = 16


class Recipe(Protocol):
    """How one image is made."""

    @property
    def name(self) -> str:
        """Return the image's short name."""
        ...

    def content_key(self, progress: Progress) -> str:
        """Return the hash of all that the image is made from; builds what it is made from when needed."""
        ...

    def write(self, target: Path, progress: Progress) -> None:
        """Make the image and write its archive."""
        ...


@dataclass(frozen=True)
class Image:
    """A built image: its OCI archive, and the name under which a cluster knows it."""

    name: str
    archive: Path

    @property
    def reference(self) -> str:
        """Return the name for manifests."""
        return reference(self.name)


def reference(name: str) -> str:
    """Return the name under which a cluster knows an image of ours."""
    return f"localhost/{name}:dev"


def key_of(*facts: str) -> str:
    """Hash what an image is made from."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:_KEY_LENGTH]


def archive_path(name: str, key: str) -> Path:
    """Return where the archive of an image with this content is kept."""
    return cache_directory() / "images" / f"{name}-{key}.tar"
