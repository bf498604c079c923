"""Write and read a folder the way the kubelet does: all files change at once, by one rename of `..data`."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

DATA, NEXT = "..data", "..data_next"


def write_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Replace the folder's files atomically. Raises OSError; the old files then stay."""
    folder.mkdir(parents=True, exist_ok=True)
    before = current_generation(folder)
    generation = write_generation(folder, files)
    link(folder / NEXT, generation.name)
    (folder / NEXT).rename(folder / DATA)
    for name in files:
        if not (folder / name).is_symlink():
            link(folder / name, f"{DATA}/{name}")
    # Envoy may still be walking the generation it was just told to leave, so one is kept.
    remove_generations(folder, keep={generation.name, before})


def read_folder(folder: Path) -> dict[str, str] | None:
    """Return the folder's files, or None when nothing was ever written whole."""
    while generation := current_generation(folder):
        files = read_generation(folder / generation)
        if generation == current_generation(folder):
            return files
    return None


def read_generation(generation: Path) -> dict[str, str] | None:
    """Return the files of one generation, or None when they cannot be read."""
    try:
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(generation.iterdir())}
    except (OSError, UnicodeDecodeError):
        return None


def current_generation(folder: Path) -> str:
    """Return the name of the generation that `..data` points to, or an empty string."""
    try:
        return str((folder / DATA).readlink())
    except OSError:
        return ""


def write_generation(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the files into a folder of their own that nobody looks at yet."""
    generation = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    generation.chmod(0o755)  # Envoy may run as another user
    for name, text in files.items():
        (generation / name).write_text(text, encoding="utf-8")
        (generation / name).chmod(0o644)
    return generation


def link(path: Path, target: str) -> None:
    """Make a symbolic link, in place of what a killed process may have left."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def remove_generations(folder: Path, keep: set[str]) -> None:
    """Remove the generations that nobody reads any more."""
    for path in folder.glob("..*"):
        if path.is_dir() and not path.is_symlink() and path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)
