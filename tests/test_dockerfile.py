"""The Dockerfile: one base that can be pinned by digest, nothing as root, and a bill of materials from the lock."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.settings import cache_directory

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}
DIGEST_FORM = r"--build-arg BASE_IMAGE=[\w./:-]+@sha256:"


def test_every_stage_stands_on_the_one_base() -> None:
    assert len(STAGES) == len(re.findall(r"^FROM ", DOCKERFILE, re.MULTILINE))
    assert {base for base in STAGES.values() if base not in STAGES} == {"${BASE_IMAGE}", "scratch"}
    (default,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:\d+\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", default), "a tag that says what it is"
    assert re.search(DIGEST_FORM, DOCKERFILE), "how to pin it by digest is said where it is done"
    assert re.search(DIGEST_FORM, (ROOT / "README.md").read_text())


@pytest.mark.parametrize("target", ["operator", "runtime"])
def test_what_is_run_is_not_root(target: str) -> None:
    assert STAGES[target] == "final"
    final = DOCKERFILE.partition("AS final")[2].partition("FROM ")[0]
    user = re.search(r"^USER (\d+):(\d+)$", final, re.MULTILINE)
    assert user, "a number: the kubelet cannot judge a name"
    assert int(user[1]) > 0
    assert "USER" not in DOCKERFILE.partition("AS final")[2].partition("FROM ")[2]


def test_the_bill_of_materials_is_of_what_is_installed() -> None:
    uv = next(iter(sorted(cache_directory().glob("uv-*/bin/uv"))), None)
    if uv is None:
        pytest.skip("uv is not there: make venv brings it")
    exported = re.findall(r"uv (export --quiet.*?--output-file (\w+)\.(cdx\.json|txt).*?)(?:&&|\n\n|$)", _joined())
    for image in ("operator", "runtime"):
        words = {kind: command.split() for command, name, kind in exported if name == image}
        bill = json.loads(_run(uv, words["cdx.json"]))
        listed = set(re.findall(r"^([\w.-]+==[^ ;]+)", _run(uv, words["txt"]), re.MULTILINE))
        assert {f"{each['name']}=={each['version']}" for each in bill["components"]} == listed
        traces = any(each.startswith("opentelemetry-exporter-otlp-proto-http==") for each in listed)
        assert traces is (image == "runtime"), "a variable is all that traces take, and only the model server sends any"


def _joined() -> str:
    return re.sub(r"\\\n\s*", " ", DOCKERFILE)


def _run(uv: Path, words: list[str]) -> str:
    at = words.index("--output-file")
    command = [str(uv), *words[:at], *words[at + 2 :], "--python", sys.executable]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
