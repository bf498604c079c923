"""Write and read OCI image archives: one layer, as `ctr images import` and `docker load` take them."""

import hashlib
import io
import json
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
    unfinished = target.with_suffix(".unfinished")
    try:
        _write_layer(layer, files)
        _write_archive(unfinished, layer, reference, config)
        unfinished.rename(target)
    finally:
        layer.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)


def _write_layer(layer: Path, files: Mapping[str, Path]) -> None:
    with tarfile.open(layer, "w") as archive:
        for name, source in sorted(files.items()):
            archive.add(source, name.strip("/") or ".", filter=_owned_by_root if source.is_file() else None)


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _write_archive(target: Path, layer: Path, reference: str, config: ImageConfig) -> None:
    blobs: dict[str, bytes] = {}
    layer_hash = _file_hash(layer)
    described = _stored(config.document(layer_hash), blobs, f"{_MEDIA}.config.v1+json")
    content = {
        "mediaType": f"{_MEDIA}.layer.v1.tar",
        "digest": f"sha256:{layer_hash}",
        "size": layer.stat().st_size,
    }
    manifest = {"schemaVersion": 2, "mediaType": f"{_MEDIA}.manifest.v1+json", "config": described}
    entry = _stored({**manifest, "layers": [content]}, blobs, f"{_MEDIA}.manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
    with tarfile.open(target, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        for digest, blob in blobs.items():
            _add(archive, f"blobs/sha256/{digest}", blob)
        archive.add(layer, f"blobs/sha256/{layer_hash}")


def _file_hash(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _stored(document: dict[str, Any], blobs: dict[str, bytes], media: str) -> dict[str, Any]:
    blob = json.dumps(document).encode()
    digest = hashlib.sha256(blob).hexdigest()
    blobs[digest] = blob
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(blob)}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def read_digest(archive: Path) -> str:
    """Return the digest of the one image in an OCI archive."""
    with tarfile.open(archive) as members:
        index = members.extractfile("index.json")
        if index is None:
            raise ValueError(f"{archive}: no index.json")
        digest: str = json.load(index)["manifests"][0]["digest"]
        return digest
