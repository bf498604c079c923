"""Every image of demo and tests, and how a name becomes an archive."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import SettingError
from cluster.images.base import BaseImage
from cluster.images.builders import Build, choose_builder
from cluster.images.dockerfile import context_hash, copied_sources
from cluster.images.naming import Image, Recipe, archive_path, key_of, reference
from cluster.images.oci import repack
from cluster.images.programs import EnvoyImage, IstiodImage, ProgramImage
from cluster.processes import exclusive
from cluster.progress import Progress, Silent
from cluster.settings import REPOSITORY, SOURCE, cache_directory

_KEPT_ARCHIVES = 2  # of one image: a branch and back costs no rebuild


@dataclass(frozen=True)
class DockerfileImage:
    """A stage of a Dockerfile."""

    name: str
    dockerfile: Path
    context: Path
    target: str = ""

    def content_key(self, progress: Progress) -> str:
        """Return the hash of the Dockerfile, the files that it copies, and its base."""
        text = self.dockerfile.read_text()
        base = self._base(progress)
        files = context_hash(self.context, copied_sources(text))
        return key_of(text, self.target, files, base.archive.name if base else "")

    def write(self, target: Path, progress: Progress) -> None:
        """Build and write the image archive."""
        base = self._base(progress)
        arguments = {"BASE_IMAGE": base.reference} if base else {}
        build = Build(self.name, self.dockerfile, self.context, self.target, arguments)
        saved = target.with_suffix(".saved")
        saved.unlink(missing_ok=True)
        try:
            choose_builder().build(build, base, saved, progress)
            repack(saved, target, reference(self.name))
        finally:
            saved.unlink(missing_ok=True)

    def _base(self, progress: Progress) -> Image | None:
        return build_image("python", progress) if choose_builder().needs_base else None


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        ProgramImage("pause", "/pause", "65535:65535"),
        ProgramImage("coredns", "/coredns", "65532:65532"),
        ProgramImage("prometheus", "/bin/prometheus", "65534:65534"),
        EnvoyImage(),
        IstiodImage(),
        BaseImage(),
        DockerfileImage("mlflow", SOURCE / "images/mlflow/Dockerfile", SOURCE / "images/mlflow"),
        DockerfileImage("operator", REPOSITORY / "Dockerfile", REPOSITORY, "operator"),
        DockerfileImage("runtime", REPOSITORY / "Dockerfile", REPOSITORY, "runtime"),
        DockerfileImage("sbom", REPOSITORY / "Dockerfile", REPOSITORY, "sbom"),
    )
}
NODE_IMAGES = "pause", "coredns"
DEFAULT_IMAGES = "operator", "runtime", "envoy", "mlflow", "prometheus"


def build_images(names: Iterable[str] = DEFAULT_IMAGES, progress: Progress | None = None) -> list[Image]:
    """Return the named images, each built when the cache has none for its content; several at once.

    Raises SettingError for a name that is not in the catalog.
    """
    wanted = list(names)
    for name in wanted:
        if name not in RECIPES:
            raise SettingError(f"image {name!r}: there is {', '.join(sorted(RECIPES))}")
    shown = progress or Silent()
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda name: build_image(name, shown), wanted))


def build_image(name: str, progress: Progress) -> Image:
    """Return one image of the catalog, built when the cache has none for its content."""
    recipe = RECIPES[name]
    with exclusive(cache_directory() / "locks" / f"image-{name}"):
        while not (target := archive_path(name, recipe.content_key(progress))).exists():
            with progress.step(f"build image {name}"):
                _write(recipe, target, progress)
        _forget_old(name)
        return Image(name, target)


def _write(recipe: Recipe, target: Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    recipe.write(unfinished, progress)
    if archive_path(recipe.name, recipe.content_key(progress)) == target:
        unfinished.rename(target)
    else:  # a file was changed under the build: the archive is not what its key says
        unfinished.unlink()


def _forget_old(name: str) -> None:
    # The key has no '-', so `mlflow-*` cannot be another image's.
    archives = sorted(archive_path(name, "*").parent.glob(f"{name}-*.tar"), key=lambda path: -path.stat().st_mtime)
    for path in archives[_KEPT_ARCHIVES:]:
        path.unlink()
