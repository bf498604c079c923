"""What does not fit the signature is refused with the column's name, and never with a value of the row."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models.utils import _enforce_schema
from mlflow.utils.proto_json_utils import dataframe_from_parsed_json

from modelramp_runtime.model import Model, load_model
from modelramp_runtime.payload import CSV, JSON
from modelramp_runtime.refusal import RequestError
from modelramp_runtime.settings import ExtraColumns, TextNumbers
from tests.runtime.conftest import FRAUD_SCHEMA, Fraud
from tests.runtime.serving import Caller, Served, served_here

GOOD = {"amount": 12.5, "age": 40, "visits": 3, "country": "AT", "vip": False}


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("amount", "12.5", "holds text; a finite number (double) is wanted"),
        ("amount", True, "holds true or false"),
        ("amount", [1.0], "holds a list"),
        ("amount", {"a": 1}, "holds an object"),
        ("amount", None, "holds null; a value is required (double)"),
        ("amount", 2**53 + 1, "cannot be kept exactly"),
        ("amount", math.inf, "not finite"),
        ("age", 40.5, "holds a fraction; a whole number of 64 bits (long) is wanted"),
        ("age", "40", "holds text"),
        ("age", None, "holds null; a value is required (long)"),
        ("age", 2**63, "out of range"),
        ("age", math.nan, "holds null"),
        ("visits", 3e9, "out of range; a whole number from -2147483648 to 2147483647 (integer) is wanted"),
        ("visits", 2**31, "out of range"),
        ("country", 7, "holds a number; text is wanted"),
        ("vip", 1, "holds a number; true or false is wanted"),
        ("vip", "true", "holds text"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_column_and_row(
    fraud_server: Served, column: str, value: Any, said: str
) -> None:
    answer = fraud_server.predict({"dataframe_records": [GOOD, {**GOOD, column: value}]})
    assert answer.status == 400
    assert answer.json["error_code"] == "INVALID_PARAMETER_VALUE"
    [violation] = answer.json["violations"]
    assert (violation["column"], violation["row"]) == (column, 1)
    assert said in violation["problem"]
    assert f"column '{column}', row 1: {violation['problem']}" in answer.json["message"]


def test_every_column_that_is_missing_is_named(fraud_server: Served) -> None:
    answer = fraud_server.predict({"dataframe_records": [{"amount": 1.0, "vip": True}]})
    assert [violation["column"] for violation in answer.json["violations"]] == ["age", "visits", "country"]


def test_all_bad_columns_are_told_at_once(fraud_server: Served) -> None:
    answer = fraud_server.predict({"dataframe_records": [{**GOOD, "age": 1.5, "vip": 2}]})
    assert [violation["column"] for violation in answer.json["violations"]] == ["age", "vip"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b'{"dataframe_split": ', "at line 1, column 21"),
        (b"[1, 2]", "must be a JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"rows": []}', "exactly one of"),
        (b'{"inputs": {}, "instances": []}', "exactly one of"),
        (b'{"dataframe_split": [1]}', "'data'"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}', "twice"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "2 values"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}}', "different lengths"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [1, 2]}}', "index"),
        (b'{"dataframe_records": {"a": 1}}', "list of objects"),
        (b'{"dataframe_records": []}', "no rows"),
        (b'{"inputs": {"amount": [1], "age": [1, 2]}}', "different lengths"),
        (b'{"inputs": {"amount": [1], "age": 2}}', "mixes"),
        (b'{"instances": [[1], 2]}', "mixes"),
        (b'{"instances": [[1, 2, 3, 4, 5]]}', "no column names; the model's columns are: amount, age"),
    ],
)
def test_a_body_in_no_format_is_a_400_that_says_why(fraud_server: Served, body: bytes, said: str) -> None:
    answer = fraud_server.post(body, content_type="application/json")
    assert answer.status == 400
    assert said in answer.json["message"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "header line"),
        ("amount,age\n", "header line"),
        ("amount,age,visits,country,vip\n1,2\n", "2 values"),
        ("amount,amount\n1,2\n", "twice"),
        ("amount,age,visits,country,vip\n1.5,40.5,3,AT,true\n", "column 'age', row 0: holds a fraction"),
        ("amount,age,visits,country,vip\n1.5,,3,AT,true\n", "column 'age', row 0: holds null"),
        ("amount,age,visits,country,vip\n1.5,1_0,3,AT,true\n", "column 'age', row 0: holds text"),
        ("amount,age,visits,country,vip\n1.5,40,3,AT,perhaps\n", "column 'vip', row 0: holds text"),
        ('amount,age\n"1,2\n', "not CSV"),
    ],
)
def test_a_csv_that_does_not_fit_is_a_400_that_says_why(fraud_server: Served, text: str, said: str) -> None:
    answer = fraud_server.post(text.encode(), content_type="text/csv")
    assert answer.status == 400
    assert said in answer.json["message"]


def test_namibia_is_a_country_and_not_a_missing_value(fraud_server: Served, fraud: Fraud) -> None:
    answer = fraud_server.post(b"amount,age,visits,country,vip\n50,40,3,NA,False\n", content_type="text/csv")
    frame = pd.DataFrame([{"amount": 50.0, "age": 40, "visits": 3, "country": "NA", "vip": False}])
    assert np.allclose(answer.predictions, fraud.expected(frame))


def test_extra_columns_and_numbers_as_text_are_as_configured(fraud: Fraud) -> None:
    with served_here(fraud.directory, MODELRAMP_EXTRA_COLUMNS="reject", MODELRAMP_TEXT_NUMBERS="accept") as served:
        answer = served.predict({"dataframe_records": [{**GOOD, "ssn": "123-45-6789"}]})
        assert answer.status == 400
        assert [violation["column"] for violation in answer.json["violations"]] == ["ssn"]
        answer = served.predict({"dataframe_records": [{**GOOD, "amount": "12.5", "age": "40"}]})
        assert np.allclose(answer.predictions, fraud.expected(pd.DataFrame([GOOD])))


# The marks in the data that must never be seen again: digits and letters that nothing else holds.
MARK = "QZX"
DIGITS = "735197"

rows = st.fixed_dictionaries(
    {
        "amount": st.floats(0, 1e6).map(lambda value: round(value, 3)) | st.integers(0, 10**6),
        "age": st.integers(-(2**63), 2**63 - 1),
        "visits": st.integers(-(2**31), 2**31 - 1),
        "country": st.sampled_from(["AT", "DE", "FR", MARK, "", "Ünïcode\n\"'"]),
        "vip": st.booleans(),
    }
)
defects = st.sampled_from(
    [
        *[(column, "drop", None) for column in GOOD],
        *[(column, "put", value) for column in GOOD for value in (None, [MARK], {MARK: 1})],
        *[("amount", "put", value) for value in (MARK, True, float(DIGITS) * 1e400)],
        *[("age", "put", value) for value in (MARK, False, float(DIGITS) + 0.5, int(DIGITS) * 10**20)],
        *[("visits", "put", value) for value in (MARK, float(DIGITS) + 0.25, int(DIGITS) * 10**5)],
        *[("country", "put", value) for value in (int(DIGITS), True)],
        *[("vip", "put", value) for value in (int(DIGITS), MARK)],
    ]
)


def _as(form: str, table: list[dict[str, Any]]) -> dict[str, Any]:
    columns = list(table[0])
    match form:
        case "dataframe_split":
            return {form: {"columns": columns, "data": [[row[name] for name in columns] for row in table]}}
        case "inputs":
            return {form: {name: [row[name] for row in table] for name in columns}}
    return {form: table}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    table=st.lists(rows, min_size=1, max_size=20),
    form=st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances"]),
    defect=st.none() | defects,
    place=st.integers(0, 19),
)
def test_every_good_request_is_right_and_every_bad_one_a_reasoned_4xx(
    fraud_server: Served,
    fraud: Fraud,
    table: list[dict[str, Any]],
    form: str,
    defect: tuple[str, str, Any] | None,
    place: int,
) -> None:
    expected = fraud.expected(_frame(table))
    if defect is not None:
        column, how, value = defect
        spoiled = place % len(table)
        if how == "drop":
            table = [{name: cell for name, cell in row.items() if name != column} for row in table]
        else:
            table[spoiled] = {**table[spoiled], column: value}
    caller = Caller(fraud_server.port)
    answer = caller.predict(_as(form, table))
    caller.close()
    if defect is None:
        assert np.allclose(answer.predictions, expected)
    else:
        assert 400 <= answer.status < 500
        assert column in [violation["column"] for violation in answer.json["violations"]]
        assert not any(mark in answer.body.decode() for mark in (MARK, DIGITS))


def _frame(table: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(table)
    return frame.astype({"amount": "float64", "age": "int64", "visits": "int32", "vip": "bool"})


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=st.lists(rows, min_size=1, max_size=30))
def test_the_model_sees_exactly_the_frame_that_mlflow_would_make(
    fraud_model: Model, table: list[dict[str, Any]]
) -> None:
    payload = _as("dataframe_split", table)
    ours = fraud_model.read(JSON, json.dumps(payload).encode()).data
    parsed = dataframe_from_parsed_json(payload["dataframe_split"], "split", FRAUD_SCHEMA)
    pd.testing.assert_frame_equal(ours, _enforce_schema(parsed, FRAUD_SCHEMA))


@pytest.fixture(scope="module")
def fraud_model(fraud: Fraud) -> Model:
    return load_model(fraud.directory, ExtraColumns.IGNORE, TextNumbers.REJECT)


@pytest.fixture(scope="module")
def typed(every_type) -> Model:
    return load_model(every_type, ExtraColumns.IGNORE, TextNumbers.REJECT)


EVERY_TYPE = {
    "a_boolean": True,
    "a_integer": -(2**31),
    "a_long": 2**63 - 1,
    "a_float": 0.1,
    "a_double": 0.1,
    "a_string": "",
    "a_binary": "AAEC",
    "a_datetime": "2026-01-31T12:00:00.25",
}


def _read(model: Model, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return model.read(JSON, json.dumps({"dataframe_records": rows}).encode()).data


def test_each_type_reaches_the_model_as_the_type_that_was_declared(typed: Model) -> None:
    frame = _read(typed, [EVERY_TYPE])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "a_boolean": "bool",
        "a_integer": "int32",
        "a_long": "int64",
        "a_float": "float32",
        "a_double": "float64",
        "a_string": "object",
        "a_binary": "object",
        "a_datetime": "datetime64[ns]",
    }
    assert frame["a_long"][0] == 2**63 - 1
    assert frame["a_binary"][0] == b"\x00\x01\x02"
    assert frame["a_datetime"][0] == pd.Timestamp("2026-01-31T12:00:00.25")


@pytest.mark.parametrize("count", [1, 40])
def test_what_is_optional_may_be_null_or_absent(typed: Model, count: int) -> None:
    nothing = {f"maybe_{name}": None for name in ("double", "string", "datetime", "long")}
    something = {"maybe_double": 1.5, "maybe_string": "a", "maybe_datetime": "2026-01-31", "maybe_long": 2**53 + 1}
    frame = _read(typed, [{**EVERY_TYPE, **nothing}, *[{**EVERY_TYPE, **something}] * count])
    assert frame[list(nothing)].isna().all(axis=1).tolist() == [True, *[False] * count]
    assert frame["maybe_long"][1] == 2**53 + 1
    assert not set(nothing) & set(_read(typed, [EVERY_TYPE]).columns)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("a_float", 1e39, "out of range"),
        ("a_float", 16_777_217, "cannot be kept exactly"),
        ("a_double", 10**400, "cannot be kept exactly"),
        ("a_binary", "not base64!", "base64 text is wanted"),
        ("a_datetime", "yesterday", "holds text that is no date"),
        ("a_datetime", "2026-01-31T12:00:00Z", "holds a date with a zone"),
        ("a_datetime", 1_700_000_000, "holds a number; an ISO 8601 date"),
        ("maybe_long", "", "holds text"),
        ("maybe_double", [None], "holds a list"),
    ],
)
@pytest.mark.parametrize("rows_before", [0, 30])
def test_each_type_says_what_it_wants(typed: Model, column: str, value: Any, said: str, rows_before: int) -> None:
    with pytest.raises(RequestError) as refused:
        _read(typed, [EVERY_TYPE] * rows_before + [{**EVERY_TYPE, column: value}])
    [violation] = refused.value.violations
    assert (violation.column, violation.row) == (column, rows_before)
    assert said in violation.problem


def test_csv_text_becomes_each_declared_type(typed: Model) -> None:
    row = {**EVERY_TYPE, "a_string": '1, "2"\n3'}
    frame = typed.read(CSV, pd.DataFrame([row]).to_csv(index=False).encode()).data
    pd.testing.assert_frame_equal(frame, _read(typed, [row]))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    ),
    form=st.sampled_from(["dataframe_split", "dataframe_records", "inputs", "instances"]),
)
@pytest.mark.parametrize("which", ["every_type", "nested", "tensor", "bare"])
def test_no_json_at_all_brings_the_reading_down(
    request: pytest.FixtureRequest, which: str, body: Any, form: str
) -> None:
    model = load_model_once(request, which)
    assert _status(model, json.dumps({form: body}).encode()) in (200, 400)


def _status(model: Model, body: bytes) -> int:
    try:
        model.read(JSON, body)
    except RequestError as refused:
        return refused.status
    return 200


_loaded: dict[str, Model] = {}


def load_model_once(request: pytest.FixtureRequest, which: str) -> Model:
    if which not in _loaded:
        _loaded[which] = load_model(request.getfixturevalue(which), ExtraColumns.IGNORE, TextNumbers.REJECT)
    return _loaded[which]


def test_a_refused_row_is_not_in_the_log_either(moody_server: Served, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = moody_server.predict({"dataframe_records": [{"mood": MARK, "x": DIGITS}]}, x_request_id="r-1")
    assert answer.status == 400
    [record] = [record for record in caplog.records if record.name == "modelramp.server"]
    assert record.fields["request_id"] == "r-1"
    assert MARK not in caplog.text
    assert DIGITS not in caplog.text
