"""The base of the Dockerfiles where no registry is asked: Debian with Python, made by debootstrap."""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.images.naming import key_of, reference
from cluster.images.oci import ImageConfig, write_image
from cluster.node.packages import BUILD_PACKAGES, ensure_packages
from cluster.processes import Command, run
from cluster.progress import Progress
from cluster.settings import cache_directory, log_file

_REVISION = "1"  # raise it when the code below changes what is in the image
_SOURCES = Path("/etc/apt")
_DEFAULT_MIRROR = "http://deb.debian.org/debian"
_NOT_NEEDED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
)


@dataclass(frozen=True)
class BaseImage:
    """Debian with Python and pip, as much like python:3.11-slim as a Dockerfile can tell."""

    name: str = "python"
    suite: str = "bookworm"
    packages: tuple[str, ...] = (
        "ca-certificates",
        "curl",
        "libpython3-stdlib",
        "passwd",
        "python3-minimal",
        "python3-pip",
        "python3-venv",
    )

    def content_key(self, progress: Progress) -> str:
        """Return the hash of the suite and the packages."""
        del progress
        return key_of(_REVISION, self.suite, *self.packages)

    def write(self, target: Path, progress: Progress) -> None:
        """Make the root file system and write the image archive."""
        ensure_packages(BUILD_PACKAGES, progress)
        default = ImageConfig()
        config = ImageConfig(command=("python3",), environment=(*default.environment, "PYTHONUNBUFFERED=1"))
        with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
            root = Path(folder) / "root"
            include = f"--include={','.join(self.packages)}"
            command: Command = ["debootstrap", "--variant=minbase", include, self.suite, root, _debian_mirror()]
            run(command, log=log_file("debootstrap"))
            _adapt(root)
            write_image(target, reference(self.name), {"/": root}, config)


def _adapt(root: Path) -> None:
    for name in _NOT_NEEDED:
        shutil.rmtree(root / name)
        (root / name).mkdir()
    (root / "usr/bin/python").symlink_to("python3")
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()  # pip may install: the image is nobody's desktop


def _debian_mirror() -> str:
    """Return the mirror that this machine's apt uses, else Debian's own."""
    for path in (_SOURCES / "sources.list", *sorted((_SOURCES / "sources.list.d").glob("*"))):
        if path.suffix in {".list", ".sources"} and path.is_file():
            for url in re.findall(r"^(?:URIs:|deb\s.*?)\s*(https?://\S+)", path.read_text(), re.MULTILINE):
                if url.rstrip("/").endswith("/debian"):
                    return str(url)
    return _DEFAULT_MIRROR
