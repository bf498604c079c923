"""A ConfigMap in a pod, as the kubelet keeps it."""

from __future__ import annotations

import shutil
from pathlib import Path

from modelramp_policy.document import FILE, hash_of


class Mounted:
    """A ConfigMap's volume as the kubelet keeps it: a link to a directory, exchanged at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._number = 0
        directory.mkdir()

    def write(self, text: str | None) -> str:
        """Put another text in place, None for a ConfigMap that is gone; return its hash."""
        self._number += 1
        name, old = f"..{self._number}", self.directory / "..data"
        (self.directory / name).mkdir()
        if text is not None:
            (self.directory / name / FILE).write_text(text)
        previous = str(old.readlink()) if old.is_symlink() else ""
        (self.directory / "..data_tmp").symlink_to(name)
        (self.directory / "..data_tmp").rename(old)
        link = self.directory / FILE
        if not link.is_symlink():
            link.symlink_to(f"..data/{FILE}")
        if previous:
            shutil.rmtree(self.directory / previous)
        return hash_of(text or "")
