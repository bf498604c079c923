"""What an answer is worth, as a table; nothing is a number but one finite, fresh sample."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelramp.adapters.prometheus_answer import Answer, judge
from modelramp.rollout.observation import Failed, NoData, Reading, Value

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ASKED = NOW.timestamp()
FRESHNESS = timedelta(seconds=30)


def verdict(document: object, status: int = 200) -> Reading[float]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return judge(Answer(status, body), NOW, FRESHNESS)


def success(kind: str, result: object, **more: object) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def sample(number: object, at: object = ASKED) -> dict[str, Any]:
    return {"metric": {"a": "b"}, "value": [at, number]}


@pytest.mark.parametrize(
    ("number", "value"),
    [("0", 0.0), ("0.25", 0.25), ("-3", -3.0), ("1e-05", 1e-05), ("1.7976931348623157e+308", 1.7976931348623157e308)],
)
def test_one_finite_fresh_sample_is_the_number(number: str, value: float) -> None:
    assert verdict(success("vector", [sample(number)])) == Value(value)
    assert verdict(success("scalar", [ASKED, number])) == Value(value)


def test_infos_say_how_to_write_a_query_better_and_do_not_spoil_its_answer() -> None:
    infos = ["PromQL info: metric might not be a counter"]
    assert verdict(success("vector", [sample("1")], infos=infos, warnings=[])) == Value(1)


@pytest.mark.parametrize("seconds", [-29, 0, 29])
def test_clocks_may_differ_a_little(seconds: float) -> None:
    assert verdict(success("vector", [sample("1", ASKED + seconds)])) == Value(1)


WRONG = {
    "empty": ("EmptyResult", success("vector", [])),
    "NaN": ("NotANumber", success("vector", [sample("NaN")])),
    "scalar NaN": ("NotANumber", success("scalar", [ASKED, "NaN"])),
    "+Inf": ("Infinite", success("vector", [sample("+Inf")])),
    "-Inf": ("Infinite", success("vector", [sample("-Inf")])),
    "overflow": ("Infinite", success("vector", [sample("1e999")])),
    "two series": ("SeveralSeries", success("vector", [sample("1"), sample("1")])),
    "two series and warnings": ("SeveralSeries", success("vector", [sample("1"), sample("1")], warnings=["cut"])),
    "matrix": ("WrongType", success("matrix", [{"metric": {}, "values": [[ASKED, "1"]]}])),
    "empty matrix": ("WrongType", success("matrix", [])),
    "string": ("WrongType", success("string", [ASKED, "1"])),
    "histogram": ("WrongType", success("vector", [{"metric": {}, "histogram": [ASKED, {"count": "1"}]}])),
    "warnings": ("Warnings", success("vector", [sample("1")], warnings=["partial response"])),
    "warnings and nothing": ("Warnings", success("vector", [], warnings=["partial response"])),
    "warnings of another kind": ("Warnings", success("vector", [sample("1")], warnings="partial response")),
    "old": ("Stale", success("vector", [sample("1", ASKED - 31)])),
    "old scalar": ("Stale", success("scalar", [ASKED - 3600, "1"])),
    "old NaN": ("Stale", success("vector", [sample("NaN", ASKED - 31)])),
    "no time": ("Stale", success("vector", [sample("1", math.nan)])),
    "before all time": ("Stale", json.dumps(success("scalar", [0, "1"])).replace("[0", f"[-1{'0' * 5000}").encode()),
    "after all time": ("ClocksDiffer", success("vector", [sample("1", 1e308)])),
    "from tomorrow": ("ClocksDiffer", success("vector", [sample("1", ASKED + 86400)])),
    "value is a number": ("NotPrometheus", success("vector", [sample(1)])),
    "value is empty": ("NotPrometheus", success("vector", [sample("")])),
    "value is text": ("NotPrometheus", success("vector", [sample("one")])),
    "value is almost a number": ("NotPrometheus", success("vector", [sample("1_000")])),
    "value is an Arabic number": ("NotPrometheus", success("vector", [sample("١")])),
    "value has spaces": ("NotPrometheus", success("vector", [sample(" 1 ")])),
    "value is infinity": ("NotPrometheus", success("vector", [sample("infinity")])),
    "value is null": ("NotPrometheus", success("vector", [sample(None)])),
    "value is missing": ("NotPrometheus", success("vector", [{"metric": {}}])),
    "value without time": ("NotPrometheus", success("vector", [{"metric": {}, "value": ["1"]}])),
    "time is text": ("NotPrometheus", success("vector", [sample("1", "now")])),
    "time is true": ("NotPrometheus", success("vector", [sample("1", at=True)])),
    "sample is no object": ("NotPrometheus", success("vector", ["1"])),
    "vector is an object": ("NotPrometheus", success("vector", {"0": sample("1")})),
    "vector is null": ("NotPrometheus", success("vector", None)),
    "unknown type": ("NotPrometheus", success("tensor", [sample("1")])),
    "no status": ("NotPrometheus", {"data": {"resultType": "vector", "result": [sample("1")]}}),
    "no data": ("NotPrometheus", {"status": "success"}),
    "another API": ("NotPrometheus", {"message": "s3cret"}),
    "list": ("NotPrometheus", [1]),
    "null": ("NotPrometheus", None),
    "error with 200": ("QueryRefused", {"status": "error", "errorType": "bad_data", "error": "s3cret"}),
    "error of no known type": ("NotPrometheus", {"status": "error", "errorType": "s3cret", "error": "s3cret"}),
    "HTML": ("NotPrometheus", b"<!DOCTYPE html><title>s3cret</title>"),
    "nothing": ("NotPrometheus", b""),
    "UTF-16": ("NotPrometheus", json.dumps(success("vector", [sample("1")])).encode("utf-16")),
    "no UTF-8": ("NotPrometheus", b'{"status":"\xff"}'),
    "two documents": ("NotPrometheus", b'{"status":"success"}{"status":"success"}'),
    "broken off": ("Truncated", b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"val'),
    "deep": ("NotPrometheus", b"[" * 200_000),
    "deep object": ("Truncated", b'{"a":' * 200_000),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_everything_else_is_a_reason_of_its_own(case: str) -> None:
    reason, document = WRONG[case]
    found = verdict(document)
    assert isinstance(found, NoData if reason in ("EmptyResult", "NotANumber") else Failed)
    assert found.reason == reason
    assert 0 < len(found.message) < 100
    assert "s3cret" not in found.message


REFUSED = {"status": "error", "errorType": "execution", "error": "s3cret"}


@pytest.mark.parametrize(
    ("status", "document", "reason"),
    [
        (400, REFUSED, "QueryRefused"),
        (422, REFUSED, "QueryRefused"),
        (422, REFUSED | {"errorType": "cost_limit"}, "QueryRefused"),
        (400, b"<html>s3cret", "NotPrometheus"),
        (422, {"detail": "s3cret"}, "NotPrometheus"),
        (400, success("vector", [sample("1")]), "NotPrometheus"),
        (401, b"", "Unauthorized"),
        (403, b"", "Unauthorized"),
        (429, b"", "Throttled"),
        (301, b"", "Redirected"),
        (302, b"", "Redirected"),
        (304, b"", "Redirected"),
        (308, b"", "Redirected"),
        (500, b"", "ServerError"),
        (502, b"", "ServerError"),
        (503, b"", "ServerError"),
        (599, b"", "ServerError"),
        (404, b"", "NotPrometheus"),
        (405, b"", "NotPrometheus"),
        (418, b"", "NotPrometheus"),
        (201, b"", "NotPrometheus"),
        (204, b"", "NotPrometheus"),
        (206, success("vector", [sample("1")]), "NotPrometheus"),
        (999, b"", "ServerError"),
    ],
)
def test_a_status_other_than_200_is_never_a_number(status: int, document: object, reason: str) -> None:
    found = verdict(document, status)
    assert isinstance(found, Failed)
    assert found.reason == reason
    assert "s3cret" not in found.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["success", "vector", "scalar", "1", "NaN", "+Inf", "0x1", ASKED]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["status", "data", "resultType", "result", "metric", "value", "warnings"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    body=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()),
    status=st.integers(100, 999),
)
def test_no_bytes_make_it_raise_or_pass(body: bytes, status: int) -> None:
    found = judge(Answer(status, body), NOW, FRESHNESS)
    assert isinstance(found, NoData | Failed)


@st.composite
def edited(draw: st.DrawFn) -> dict[str, Any]:
    """Return a right answer in which one part was replaced."""
    document = success("vector", [sample("0.5")], warnings=[], infos=["s3cret"])
    paths = [("status",), ("data",), ("data", "resultType"), ("data", "result"), ("warnings",), ("infos",)]
    deeper = [("data", "result", 0), *(("data", "result", 0, key) for key in ("metric", "value"))]
    deepest = [("data", "result", 0, "value", index) for index in (0, 1)]
    *path, last = draw(st.sampled_from(paths + deeper + deepest))
    holder: Any = document
    for key in path:
        holder = holder[key]
    holder[last] = draw(json_values)
    return document


@given(edited())
def test_a_number_comes_from_one_sample_that_is_all_right(document: dict[str, Any]) -> None:
    found = verdict(document)
    if isinstance(found, Value):
        assert document["status"] == "success"
        assert not document["warnings"]
        result = document["data"]["result"]
        at, number = result[0]["value"] if document["data"]["resultType"] == "vector" else result
        assert found.value == float(number)
        assert math.isfinite(found.value)
        assert abs(at - ASKED) <= FRESHNESS.total_seconds()
