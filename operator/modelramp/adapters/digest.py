"""The digest of a model's files: the registry keeps none, and the pods check it before they serve."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def tree_digest(files: Mapping[str, str]) -> str:
    r"""Return the digest of a tree.

    `files` maps each regular file's relative POSIX path to the lower-case hex SHA-256 of its bytes. The
    digest is the SHA-256 over the lines `<hex>  <path>\n`, ordered by the bytes of the path, written
    `sha256:<hex>`.
    """
    lines = hashlib.sha256()
    for path in sorted(files, key=str.encode):
        lines.update(f"{files[path]}  {path}\n".encode())
    return f"sha256:{lines.hexdigest()}"
