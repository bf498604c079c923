"""A kubectl that fits the pinned Kubernetes."""

import json
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

from cluster.errors import CommandError
from cluster.processes import run
from cluster.tools.binaries import BINARIES, build_binaries, required_module
from cluster.tools.golang import parse_version

_MINORS_APART = 1  # what Kubernetes supports between kubectl and the API server


@cache
def find_kubectl() -> Path:
    """Return the machine's kubectl when it is at most one minor version away, else the pinned one, built."""
    found = shutil.which("kubectl")
    if found and _fits(found):
        return Path(found)
    return build_binaries(["kubectl"])["kubectl"]


def _fits(command: str) -> bool:
    pinned = parse_version(required_module(BINARIES["kubectl"].folder, "k8s.io/kubernetes"))
    with suppress(CommandError, ValueError, KeyError):
        answer = json.loads(run([command, "version", "--client", "--output=json"]))
        major, minor, _ = parse_version(answer["clientVersion"]["gitVersion"])
        return major == pinned[0] and abs(minor - pinned[1]) <= _MINORS_APART
    return False
