"""Where the cluster keeps its files, and what a user may set from the environment."""

import os
import re
from pathlib import Path

from cluster.errors import SettingError

SOURCE = Path(__file__).resolve().parent
REPOSITORY = SOURCE.parent
DEFAULT_NAME = "modelramp"

_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_SOCKET_PATH_LIMIT = 107  # bytes, sockaddr_un


def cache_directory() -> Path:
    """Return the folder of everything that is built or downloaded: $MODELRAMP_CACHE or ~/.cache/modelramp."""
    chosen = os.environ.get("MODELRAMP_CACHE") or "~/.cache/modelramp"
    return Path(chosen).expanduser().absolute()


def log_file(name: str) -> Path:
    """Return the path of one step's log, its folder made."""
    path = cache_directory() / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def node_directory(name: str) -> Path:
    """Return the folder of one node's state; refuse names that no host name can have."""
    if not _NODE_NAME.fullmatch(name):
        raise SettingError(f"--name {name!r}: use lower-case letters, digits and '-', at most 40 characters")
    directory = cache_directory() / "nodes" / name
    if len(os.fsencode(directory / "run" / "api.sock")) > _SOCKET_PATH_LIMIT:
        raise SettingError(f"MODELRAMP_CACHE={cache_directory()}: too long to hold a socket, use a shorter path")
    return directory
