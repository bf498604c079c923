"""Write and read OCI image archives: one layer, as `ctr images import` and `docker load` take them."""

import hashlib
import io
import json
import os
import platform
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MEDIA = "application/vnd.oci.image"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ImageConfig:
    """How containers of an image start."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = field(default=(_PATH,))
    user: str = ""

    def document(self, layer: str) -> dict[str, Any]:
        """Return the OCI image configuration for one layer's SHA-256."""
        settings = {"Env": list(self.environment), "User": self.user}
        settings |= {"Entrypoint": list(self.entrypoint)} if self.entrypoint else {}
        settings |= {"Cmd": list(self.command)} if self.command else {}
        return {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _EPOCH,
            # buildah's layer cache wants a history entry for each layer.
            "history": [{"created": _EPOCH, "created_by": "modelramp cluster"}],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
            "config": settings,
        }


def write_image(target: Path, reference: str, files: Mapping[str, Path], config: ImageConfig) -> None:
    """Write an image archive with these files or folders, by their paths in the image."""
    layer = target.with_suffix(".layer")
    try:
        _write_layer(layer, files)
        _write_archive(target, layer, reference, config)
    finally:
        layer.unlink(missing_ok=True)


def _write_layer(layer: Path, files: Mapping[str, Path]) -> None:
    with tarfile.open(layer, "w") as archive:
        for name, source in sorted(files.items()):
            archive.add(source, name.strip("/") or ".", filter=_owned_by_root if source.is_file() else None)


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _write_archive(target: Path, layer: Path, reference: str, config: ImageConfig) -> None:
    digest = _file_hash(layer)
    with tarfile.open(target, "w") as archive:
        _add_image(archive, reference, json.dumps(config.document(digest)).encode(), {digest: layer.stat().st_size})
        archive.add(layer, _blob_path(digest))


def repack(saved: Path, target: Path, reference: str) -> None:
    """Write the image of an archive in Docker's format as an OCI archive.

    Its layers are tar files that are not compressed, so their SHA-256 is what the image calls diff_ids.
    """
    with tarfile.open(saved) as source, tarfile.open(target, "w") as archive:
        (manifest,) = json.loads(_content(source, "manifest.json"))
        config = _content(source, manifest["Config"])
        digests = [str(each).removeprefix("sha256:") for each in json.loads(config)["rootfs"]["diff_ids"]]
        layers = [source.getmember(name) for name in manifest["Layers"]]
        sizes = dict(zip(digests, (_followed(source, layer).size for layer in layers), strict=True))
        _add_image(archive, reference, config, sizes)
        for digest, layer in zip(digests, layers, strict=True):
            entry = tarfile.TarInfo(_blob_path(digest))
            entry.size = sizes[digest]
            archive.addfile(entry, source.extractfile(layer))


def _followed(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tarfile.TarInfo:
    # A layer that an image has twice is a link.
    return archive.getmember(_normal(member)) if member.issym() else member


def _normal(link: tarfile.TarInfo) -> str:
    return os.path.normpath(str(Path(link.name).parent / link.linkname))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is not a file of the archive")
    return member.read()


def _add_image(archive: tarfile.TarFile, reference: str, config: bytes, layers: Mapping[str, int]) -> None:
    """Add all but the layers, which are given by their SHA-256 with their sizes in bytes."""
    described = {"mediaType": f"{_MEDIA}.config.v1+json", **_add_blob(archive, config)}
    contents = [
        {"mediaType": f"{_MEDIA}.layer.v1.tar", "digest": f"sha256:{digest}", "size": size}
        for digest, size in layers.items()
    ]
    media = f"{_MEDIA}.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": media, "config": described, "layers": contents}
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    entry = {"mediaType": media, **_add_blob(archive, json.dumps(manifest).encode()), "annotations": names}
    _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())


def _add_blob(archive: tarfile.TarFile, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    _add(archive, _blob_path(digest), content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _blob_path(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _file_hash(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def read_digest(archive: Path) -> str:
    """Return the digest of the one image in an OCI archive."""
    with tarfile.open(archive) as members:
        digest: str = json.loads(_content(members, "index.json"))["manifests"][0]["digest"]
        return digest
