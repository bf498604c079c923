"""The two programs that turn a Dockerfile into an image: Docker, or buildah without a daemon."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cluster.errors import NotPossibleError
from cluster.images.naming import Image, reference
from cluster.images.pip import CERTIFICATES, build_settings
from cluster.node.packages import BUILD_PACKAGES, ensure_packages
from cluster.processes import Command, exclusive, run, succeeds
from cluster.progress import Progress
from cluster.settings import cache_directory, log_file

_MOST_LAYERS = 250  # about 10 GB


@dataclass(frozen=True)
class Build:
    """What to build: a stage of a Dockerfile in its context."""

    name: str
    dockerfile: Path
    context: Path
    target: str = ""
    arguments: dict[str, str] = field(default_factory=dict)

    def options(self) -> list[str | Path]:
        """Return the options that Docker and buildah share."""
        stage = ["--target", self.target] if self.target else []
        arguments = [f"--build-arg={name}={value}" for name, value in self.arguments.items()]
        return [*stage, *arguments, "--tag", reference(self.name), "--file", self.dockerfile]


class Builder(Protocol):
    """A program that builds Dockerfiles."""

    @property
    def needs_base(self) -> bool:
        """Answer whether the base image has to come from us, since no registry is asked."""
        ...

    def build(self, build: Build, base: Image | None, target: Path, progress: Progress) -> None:
        """Build, and write an archive in Docker's format, whose layers are not compressed.

        buildah compresses the layers of an OCI archive, which takes longer than most builds.
        """
        ...


def choose_builder() -> Builder:
    """Return Docker where its daemon answers, else buildah; raises NotPossibleError where neither can be."""
    if docker_answers():
        return Docker()
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise NotPossibleError("images need a running Docker daemon, or root on Debian (buildah is installed then)")
    return Buildah()


def docker_answers() -> bool:
    """Answer whether a Docker daemon can be asked."""
    return succeeds(["docker", "info"])


@contextmanager
def _pip_secret() -> Iterator[list[str]]:
    """Yield the option that lets a RUN mount the secret `pip.conf`: this machine's index."""
    with tempfile.NamedTemporaryFile("w", prefix="pip-", suffix=".conf") as settings:
        settings.write(build_settings())
        settings.flush()
        yield ["--secret", f"id=pip.conf,src={settings.name}"]


@dataclass(frozen=True)
class Docker:
    """Builds with the daemon; base images come from their registry."""

    needs_base: bool = False

    def build(self, build: Build, base: Image | None, target: Path, progress: Progress) -> None:
        """Build with BuildKit."""
        del base, progress
        with _pip_secret() as secret:
            command: Command = ["docker", "build", *secret, *build.options(), build.context]
            run(command, env={"DOCKER_BUILDKIT": "1"}, log=log_file(f"image-{build.name}"))
        run(["docker", "save", "--output", target, reference(build.name)])


@dataclass(frozen=True)
class Buildah:
    """Builds without a daemon, in a mount namespace that ends with the build."""

    needs_base: bool = True

    def build(self, build: Build, base: Image | None, target: Path, progress: Progress) -> None:
        """Build in a chroot with the host's network, on the base given."""
        ensure_packages(BUILD_PACKAGES, progress)
        with exclusive(cache_directory() / "locks" / "buildah"):
            _forget_when_large()
            if base:
                _take_base(base)
            _bud(build)
            name = reference(build.name)
            _buildah(["push", "--quiet", name, f"docker-archive:{target}:{name}"], f"{build.name}-push")


def _storage() -> Path:
    return cache_directory() / "buildah"


def _buildah(arguments: Command, log: str) -> None:
    folder = _storage()
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    stores: Command = ["--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "overlay"]
    command = ["unshare", "--mount", "buildah", *stores, *arguments]
    # Cache mounts of RUN instructions live under TMPDIR.
    run(["nice", "-n", "5", *command], env={"TMPDIR": str(folder / "tmp")}, log=log_file(f"image-{log}"))


def _forget_when_large() -> None:
    """Start afresh when old layers have piled up: buildah cannot tell which of them the next build uses."""
    storage = _storage() / "storage"
    if len(list(storage.glob("overlay-images/*/"))) > _MOST_LAYERS:
        shutil.rmtree(storage)
        (_storage() / "base").unlink()


def _take_base(base: Image) -> None:
    marker = _storage() / "base"
    if not marker.exists() or marker.read_text() != base.archive.name:
        _buildah(["pull", "--quiet", f"oci-archive:{base.archive}"], "base")
        marker.write_text(base.archive.name)


def _bud(build: Build) -> None:
    isolation = ["--isolation", "chroot", "--network", "host", "--layers"]
    mounts = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if CERTIFICATES.is_dir() else []
    with _pip_secret() as secret:
        _buildah(["bud", *isolation, *mounts, *secret, *build.options(), build.context], build.name)
