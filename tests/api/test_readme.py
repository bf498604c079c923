"""The README's manifest and the examples' are accepted as they stand, by the operator and by a real API server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelramp.api import read_spec
from modelramp.api.promotion import read_policy
from modelramp.rollout.rulebook import PromotionPolicy
from modelramp.rollout.spec import Spec
from tests.api.served import Served

ROOT = Path(__file__).parents[2]


def manifests() -> dict[str, dict[str, Any]]:
    block = re.search(r"```yaml\n(apiVersion: modelramp.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    found = {"README.md": yaml.safe_load(block[1])}
    for path in sorted((ROOT / "examples").rglob("modeldeployment*.yaml")):
        found[str(path.relative_to(ROOT))] = yaml.safe_load(path.read_text())
    return found


def policies() -> dict[str, dict[str, Any]]:
    files = sorted((ROOT / "examples").rglob("promotionpolicy*.yaml"))
    return {str(path.relative_to(ROOT)): yaml.safe_load(path.read_text()) for path in files}


@pytest.mark.parametrize("source", policies())
def test_the_operator_understands_the_policy(source: str) -> None:
    assert isinstance(read_policy(policies()[source]), PromotionPolicy)


@pytest.mark.apiserver
@pytest.mark.parametrize("source", policies())
def test_a_real_api_server_accepts_the_policy_to_the_last_field(served: Served, source: str) -> None:
    body = policies()[source]
    path = "/apis/modelramp.dev/v1alpha1/promotionpolicies?fieldValidation=Strict&dryRun=All"
    assert served.server.request("POST", path, body)["spec"]["floor"]


@pytest.mark.parametrize("source", manifests())
def test_the_operator_understands_it(source: str) -> None:
    assert isinstance(read_spec(manifests()[source]), Spec)


@pytest.mark.apiserver
@pytest.mark.parametrize("source", manifests())
def test_a_real_api_server_accepts_it_to_the_last_field(served: Served, source: str) -> None:
    answer = served.create(manifests()[source], dry=True)
    assert answer.code in (200, 201), answer.causes
