"""Where the demo's images come from: built here, or from the registry of a cluster that somebody else runs."""

import os
from collections.abc import Sequence

from cluster.errors import SettingError
from cluster.existing import VARIABLE
from cluster.images.catalog import DEFAULT_IMAGES, build_images
from cluster.images.naming import Image, reference
from cluster.lifecycle import load
from cluster.progress import Progress

PREFIX_VARIABLE = "IMAGES_FOR_DEMO"


def is_foreign() -> bool:
    """Tell whether the cluster is somebody else's: named by its kubeconfig."""
    return bool(os.environ.get(VARIABLE))


def check_located() -> None:
    """Raise SettingError where it is not said from where a foreign cluster gets the images."""
    if not _prefix():
        names = ", ".join(DEFAULT_IMAGES)
        raise SettingError(
            f"{VARIABLE}: push {names} (python -m cluster images builds them) to a registry that its nodes pull from, "
            f"as PREFIX/NAME:{tag()}, and set {PREFIX_VARIABLE}=PREFIX"
        )


def build(progress: Progress) -> Sequence[Image]:
    """Build what has to be loaded; nothing where the images come from a registry."""
    return [] if _prefix() else build_images(DEFAULT_IMAGES, progress)


def bring(images: Sequence[Image], cluster: str, progress: Progress) -> None:
    """Load the images into the cluster."""
    if images:
        load(images, cluster, progress)


def located(manifest: str) -> str:
    """Return a manifest with the images from where they are."""
    return manifest.replace(f"image: {_directory()}/", f"image: {_prefix() or _directory()}/")


def repository(name: str) -> str:
    """Return an image's name without its tag."""
    return f"{_prefix() or _directory()}/{name}"


def tag() -> str:
    """Return the tag of every image."""
    return reference("any").rpartition(":")[2]


def _directory() -> str:
    return reference("any").rpartition("/")[0]


def _prefix() -> str:
    return os.environ.get(PREFIX_VARIABLE, "").rstrip("/") if is_foreign() else ""
