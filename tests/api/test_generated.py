"""What is generated is in the repository as generated, and says what it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelramp.api import __main__ as generator
from modelramp.api.crd import definition

REPOSITORY = Path(__file__).parents[2]


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from _fields(field.get("items", field), f"{path}.{name}")


def _spec_and_status() -> list[tuple[str, dict[str, Any]]]:
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return [*_fields(schema["spec"], "spec"), *_fields(schema["status"], "status")]


def test_the_files_are_as_generated() -> None:
    assert generator.main(["--check", "--into", str(REPOSITORY)]) == 0


def test_a_difference_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check", "--into", str(tmp_path)]) == 1
    assert "run python -m modelramp.api" in capsys.readouterr().out
    assert generator.main(["--into", str(tmp_path)]) == 0
    assert generator.main(["--check", "--into", str(tmp_path)]) == 0
    file = tmp_path / "crds" / "modeldeployment.yaml"
    file.write_text(file.read_text().replace("maximum: 100", "maximum: 101"))
    assert generator.main(["--check", "--into", str(tmp_path)]) == 1


def test_the_file_says_what_the_models_say() -> None:
    assert yaml.safe_load((REPOSITORY / "crds" / "modeldeployment.yaml").read_text()) == definition()


def test_every_field_is_explained() -> None:
    fields = _spec_and_status()
    assert len(fields) > 120
    assert [path for path, field in fields if not field.get("description")] == []


def test_everything_that_users_write_has_an_end() -> None:
    spec = [(path, field) for path, field in _spec_and_status() if path.startswith("spec")]
    open_ended = [
        path
        for path, field in spec
        if (field.get("type") == "string" and not field.keys() & {"maxLength", "enum"})
        or (field.get("type") == "array" and "maxItems" not in field)
        or ("additionalProperties" in field and "maxProperties" not in field)
    ]
    assert open_ended == []


def test_nothing_that_the_operator_writes_can_be_refused() -> None:
    limits = {"maxLength", "minLength", "maxItems", "minimum", "maximum", "pattern", "x-kubernetes-validations"}
    assert [path for path, field in _spec_and_status() if path.startswith("status") and field.keys() & limits] == []


def test_the_columns_are_what_people_ask_for() -> None:
    columns = definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"].upper() for column in columns if not column.get("priority")]
    assert shown == ["PHASE", "STABLE", "CANDIDATE", "WEIGHT", "STEP", "REASON", "AGE"]
