"""Logs: one JSON object a line, which object it is about, and no secret."""

import io
import json
import logging

import pytest

from modelramp.logs import JsonLines, log_json, redact
from modelramp.ports import Ref


def line(message: str, *arguments: object, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("modelramp.queue", logging.WARNING, "file.py", 1, message, arguments, None)
    vars(record).update(extra)
    parsed: dict[str, object] = json.loads(JsonLines().format(record))
    return parsed


def test_a_line_says_when_how_bad_who_and_what() -> None:
    said = line("turn failed, again in %.1f s", 2.5)
    assert said["level"] == "warning"
    assert said["logger"] == "modelramp.queue"
    assert said["message"] == "turn failed, again in 2.5 s"
    assert str(said["ts"]).endswith("+00:00")


def test_a_line_names_the_object_and_carries_what_is_given() -> None:
    said = line("turn failed", ref=Ref("team", "fraud"), failures=3, version="8", attempt="a1")
    assert {key: said[key] for key in ("namespace", "name", "failures", "version", "attempt")} == {
        "namespace": "team", "name": "fraud", "failures": 3, "version": "8", "attempt": "a1",
    }  # fmt: skip
    assert "ref" not in said


def test_values_that_json_does_not_know_are_text() -> None:
    assert line("x", odd={1})["odd"] == "{1}"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2.abc",
        "GET https://user:hunter2@mlflow/api failed",
        "MLFLOW_TRACKING_PASSWORD=hunter2",
        "{'token': 'hunter2'}",
        '{"password":"hunter2","x":1}',
        "Basic aHVudGVyMg==hunter2",
        "api_key=hunter2&x=1",
        "eyJhbGciOiJ.hunter2.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_credential_is_not_written(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert "hunter2" not in json.dumps(line("calling: %s", text, url=text), ensure_ascii=False)


def test_ordinary_text_is_left_alone() -> None:
    text = "turn failed: PUT /apis/modelramp.dev/v1alpha1/namespaces/team/modeldeployments/fraud: 409 Conflict"
    assert redact(text) == text


def test_an_exception_is_written_in_the_same_line_and_without_secrets() -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log_json("INFO", stream)
        try:
            int("https://user:hunter2@host")
        except ValueError:
            logging.getLogger("modelramp").exception("no luck")
    finally:
        root.handlers[:], root.level = before
    (text,) = stream.getvalue().splitlines()
    assert "hunter2" not in text
    assert "ValueError" in json.loads(text)["exception"]
