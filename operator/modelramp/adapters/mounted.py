"""Files that are mounted into the pod and swapped while it runs: tokens, certificates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class MountedFile(Generic[T]):
    """What a file holds, read again when the file was replaced or written."""

    def __init__(self, path: Path, load: Callable[[Path], T]) -> None:
        """Take the file's path and what turns it into its content; nothing is read yet."""
        self._path = path
        self._load = load
        self._loaded: tuple[tuple[int, int, int], T] | None = None

    def read(self) -> T:
        """Return the content; raises OSError, or what `load` raises, when there is none to use."""
        found = self._path.stat()
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._loaded is None or self._loaded[0] != stamp:
            self._loaded = stamp, self._load(self._path)
        return self._loaded[1]
