"""MLflow's request formats: bytes in, a table of JSON values out, nothing about the model yet.

`dataframe_split`, `dataframe_records`, `instances`, `inputs` (each with `params`), CSV and Parquet, as MLflow's
scoring server takes them (https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/).
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from modelramp_runtime.refusal import Kind, RequestError

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")

_CAN_PARQUET = importlib.util.find_spec("pyarrow") is not None
MEDIA_TYPES = (JSON, CSV, PARQUET) if _CAN_PARQUET else (JSON, CSV)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length, as the caller sent them. `names` is None for rows without column names."""

    names: list[Any] | None
    columns: list[list[Any]]
    rows: int
    index: list[Any] | None = None
    is_text: bool = False


def malformed(message: str) -> RequestError:
    """Return the refusal of a body that is not in any format."""
    return RequestError(Kind.MALFORMED, message)


def read_media_type(header: str | None) -> str:
    """Return the media type of a Content-Type header; raise `RequestError` (415) for one that is not served."""
    mime, *options = [part.strip() for part in (header or "").split(";")]
    if mime.lower() not in MEDIA_TYPES:
        found = "is missing" if not mime else "is not supported"
        raise RequestError(Kind.MEDIA_TYPE, f"The Content-Type {found}; send one of {', '.join(MEDIA_TYPES)}.")
    for option in filter(None, options):
        name, _, value = option.partition("=")
        if name.strip().lower() != "charset":
            raise RequestError(Kind.MEDIA_TYPE, f"The Content-Type may only have a charset; send '{mime.lower()}'.")
        if value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            raise RequestError(Kind.MEDIA_TYPE, "The charset must be utf-8.")
    return mime.lower()


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; raise `RequestError` that says where it stops being one."""
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except UnicodeDecodeError as error:
        raise malformed(f"The body is not UTF-8 (byte {error.start}).") from None
    except RecursionError:
        raise malformed("The body is nested too deeply.") from None
    except ValueError:  # the interpreter's limit on the digits of one number
        raise malformed("The body holds a number with too many digits.") from None
    if not isinstance(value, dict):
        raise malformed(f"The body must be a JSON object with exactly one of {', '.join(FORMATS)}.")
    return value


def read_format(payload: dict[str, Any]) -> str:
    """Return the one format that a JSON payload is in."""
    present = [name for name in FORMATS if name in payload]
    if len(present) != 1:
        found = ", ".join(present) or "none of them"
        raise malformed(f"The body must have exactly one of {', '.join(FORMATS)}; it has {found}.")
    return present[0]


def table_of(payload: dict[str, Any]) -> Table:
    """Return the table that a JSON payload holds; raise `RequestError` when it holds none."""
    name = read_format(payload)
    data = payload[name]
    match name:
        case "dataframe_split":
            table = _from_split(data)
        case "dataframe_records":
            if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
                raise malformed("'dataframe_records' must be a list of objects, one per row.")
            table = _from_records(data)
        case _:
            table = _from_tensors(name, data)
    if table.rows == 0:
        raise malformed(f"'{name}' has no rows.")
    return table


def _from_split(data: Any) -> Table:
    if not isinstance(data, dict) or "data" not in data or not data.keys() <= {"columns", "data", "index"}:
        raise malformed("'dataframe_split' must be an object with 'data', and perhaps 'columns' and 'index'.")
    names, index = data.get("columns"), data.get("index")
    if names is not None:
        _check_names(names)
    table = _from_rows("dataframe_split", data["data"], names)
    if index is not None and (not isinstance(index, list) or len(index) != table.rows):
        raise malformed("'index' of 'dataframe_split' must be a list with one entry per row.")
    return Table(table.names, table.columns, table.rows, index)


def _check_names(names: Any) -> None:
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise malformed("'columns' of 'dataframe_split' must be a list of names.")
    if len(set(names)) != len(names):
        raise malformed("'columns' of 'dataframe_split' names a column twice.")


def _from_rows(name: str, rows: Any, names: list[Any] | None) -> Table:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise malformed(f"The data of '{name}' must be a list of rows, each a list of values.")
    widths = set(map(len, rows))
    if len(widths) > 1:
        raise malformed(f"The rows of '{name}' have different lengths.")
    if names is not None and rows and widths != {len(names)}:
        raise malformed(f"The rows of '{name}' have {widths.pop()} values, but 'columns' has {len(names)} names.")
    return Table(names, [list(column) for column in zip(*rows, strict=True)], len(rows))


def _from_records(records: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for record in records for name in record))
    return Table(names, [[record.get(name) for record in records] for name in names], len(records))


def _from_tensors(name: str, data: Any) -> Table:
    match data:
        case dict():
            return _from_columns(name, data)
        case [] | None:
            return Table(None, [], 0)
        case list() if all(isinstance(item, dict) for item in data):
            return _from_records(data)
        case list() if all(isinstance(item, list) for item in data):
            return _from_rows(name, data, None)
        case list() if any(isinstance(item, dict | list) for item in data):
            raise malformed(f"'{name}' mixes rows with single values.")
        case list():
            return Table(None, [data], len(data))
        case _:
            return Table(None, [[data]], 1)


def _from_columns(name: str, data: dict[str, Any]) -> Table:
    if not any(isinstance(column, list) for column in data.values()):
        return Table(list(data), [[value] for value in data.values()], 1 if data else 0)
    if not all(isinstance(column, list) for column in data.values()):
        raise malformed(f"'{name}' mixes lists with single values; send every column as a list.")
    lengths = set(map(len, data.values()))
    if len(lengths) > 1:
        raise malformed(f"The columns of '{name}' have different lengths.")
    return Table(list(data), list(data.values()), lengths.pop())


def table_of_csv(body: bytes) -> Table:
    """Return the table of a CSV body with a header line; every value is text still."""
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True) if line]
    except UnicodeDecodeError as error:
        raise malformed(f"The body is not UTF-8 (byte {error.start}).") from None
    except csv.Error:
        raise malformed("The body is not CSV: a quote is not closed or a field is too long.") from None
    if len(lines) < 2:
        raise malformed("The CSV must have a header line and at least one row.")
    names, rows = lines[0], lines[1:]
    if len(set(names)) != len(names):
        raise malformed("The CSV's header names a column twice.")
    table = _from_rows("CSV", rows, None)
    if len(table.columns) != len(names):
        raise malformed(f"The CSV's rows have {len(table.columns)} values, but its header has {len(names)} names.")
    return Table(names, table.columns, table.rows, is_text=True)


def table_of_parquet(body: bytes) -> Table:
    """Return the table of a Parquet body."""
    try:
        frame = pd.read_parquet(io.BytesIO(body))
    except Exception:  # noqa: BLE001 pyarrow raises what it likes; its words may quote the data
        raise malformed("The body is not a Parquet table.") from None
    if frame.empty:
        raise malformed("The Parquet table has no rows.")
    return Table(list(frame.columns), [_plain(frame[name]) for name in frame.columns], len(frame))


def _plain(column: pd.Series[Any]) -> list[Any]:
    return [None if value is pd.NaT or value is pd.NA else value for value in column.tolist()]
