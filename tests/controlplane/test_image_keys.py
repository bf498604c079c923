"""An image is rebuilt when something that it is made from has changed, and only then."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from cluster.errors import SettingError
from cluster.images.catalog import build_images
from cluster.images.dockerfile import context_hash, copied_sources, read_ignored
from cluster.images.oci import ImageConfig, read_digest, repack, write_image
from cluster.images.pip import passed_on
from cluster.settings import node_directory

DOCKERFILE = """\
# COPY not-this .
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS build
COPY pyproject.toml uv.lock /build/
COPY --chown=1:1 operator \\
     /build/operator
RUN --mount=type=bind,source=crds,target=/crds --mount=type=cache,target=/c true
FROM ${BASE_IMAGE}
COPY --from=build /opt /opt
COPY ["a file", "/x/"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "operator" / "__pycache__").mkdir(parents=True)
    (tmp_path / "operator" / "main.py").write_text("print(1)\n")
    (tmp_path / "operator" / "__pycache__" / "main.pyc").write_text("x")
    (tmp_path / "docs.md").write_text("words\n")
    (tmp_path / ".dockerignore").write_text("**/__pycache__\n")
    return tmp_path


def test_the_sources_are_what_the_stages_copy_from_the_context() -> None:
    assert copied_sources(DOCKERFILE) == ["pyproject.toml", "uv.lock", "operator", "crds", "a file"]


def test_a_change_of_a_copied_file_changes_the_hash(context: Path) -> None:
    before = context_hash(context, ["operator"])
    (context / "operator" / "main.py").write_text("print(2)\n")
    assert context_hash(context, ["operator"]) != before


def test_a_new_copied_file_changes_the_hash(context: Path) -> None:
    before = context_hash(context, ["operator"])
    (context / "operator" / "more.py").touch()
    assert context_hash(context, ["operator"]) != before


def test_files_that_are_not_copied_do_not_matter(context: Path) -> None:
    before = context_hash(context, ["operator"])
    (context / "docs.md").write_text("other words\n")
    assert context_hash(context, ["operator"]) == before


def test_files_that_dockerignore_names_do_not_matter(context: Path) -> None:
    before = context_hash(context, ["."])
    (context / "operator" / "__pycache__" / "main.pyc").write_text("y")
    assert context_hash(context, ["."]) == before


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("docs/a.md", True),
        ("README.md", False),
        ("operator/modelramp/cli.py", False),
        ("operator/modelramp/__pycache__/cli.pyc", True),
        ("operator/x.pyc", True),
    ],
)
def test_the_last_matching_rule_of_dockerignore_wins(tmp_path: Path, path: str, left_out: bool) -> None:
    (tmp_path / ".dockerignore").write_text("*\n!README.md\n!operator\n**/__pycache__\n**/*.pyc\n")
    assert read_ignored(tmp_path).covers(path) is left_out


def test_the_same_files_make_the_same_image(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    config = ImageConfig(entrypoint=("/program",), user="1:1")
    for name in ("one", "two"):
        write_image(tmp_path / name, "localhost/x:dev", {"/program": program}, config)
    assert read_digest(tmp_path / "one") == read_digest(tmp_path / "two")


def test_an_archive_of_docker_becomes_an_oci_archive_with_the_same_layer(tmp_path: Path) -> None:
    layer = b"a layer"
    diff = "7ab0e1a4e6f8a25a5f0f35a8b2ae9e8c" * 2
    config = json.dumps({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]}}).encode()
    manifest = json.dumps([{"Config": "c.json", "Layers": ["l.tar"]}]).encode()
    with tarfile.open(tmp_path / "saved", "w") as archive:
        for name, content in (("manifest.json", manifest), ("c.json", config), ("l.tar", layer)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    repack(tmp_path / "saved", tmp_path / "image", "localhost/x:dev")
    with tarfile.open(tmp_path / "image") as archive:
        stored = archive.extractfile(f"blobs/sha256/{diff}")
        assert stored
        assert stored.read() == layer
        described = archive.extractfile(f"blobs/{read_digest(tmp_path / 'image').replace(':', '/')}")
        assert described
        assert json.load(described)["layers"][0]["digest"] == f"sha256:{diff}"


def test_builds_get_the_index_of_this_machine_but_not_its_paths() -> None:
    listed = "global.index-url='https://one'\n:env:.index-url='https://two'\nglobal.find-links='/wheels'\n"
    assert passed_on(listed) == {"index-url": "https://two"}


def test_an_image_that_is_not_in_the_catalog_is_refused_by_name() -> None:
    with pytest.raises(SettingError, match=r"image 'operatr': there is .*operator"):
        build_images(["operatr"])


@pytest.mark.parametrize("name", ["Bad", "a_b", "-a", "a" * 41, ""])
def test_a_node_name_that_no_host_can_have_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="lower-case"):
        node_directory(name)
