"""The digest of a model's files: what was checked is what is served."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 2**20


class TreeError(Exception):
    """The directory holds something that is neither a directory nor a regular file."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What a directory holds. `digest` is `sha256:` and 64 hexadecimal digits; `size` is in bytes."""

    digest: str
    files: int
    size: int


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_tree(root: Path) -> Tree:
    """Return the digest of every regular file below `root`.

    SHA-256 over the lines `<sha256 of the file>  <path from root>`, in the byte order of the paths.
    Raises `TreeError` for a link, a device or a socket: its content is not part of the tree.
    """
    paths = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    paths += [path for path in root.rglob("*") if path.is_symlink() and path.is_dir()]
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise TreeError(f"{path.relative_to(root)} is not a regular file")
    named = sorted((os.fsencode(path.relative_to(root).as_posix()), path) for path in paths)
    lines = b"".join(_sha256(path).encode() + b"  " + name + b"\n" for name, path in named)
    size = sum(path.stat().st_size for path in paths)
    return Tree("sha256:" + hashlib.sha256(lines).hexdigest(), len(paths), size)
