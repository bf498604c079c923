"""Requests to the fraud model, good ones with the frame that the model has to see, bad ones with what is wrong."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from hypothesis import strategies as st

JSON, CSV = "application/json", "text/csv"
SECRET, SECRET_NUMBER = "tell-nobody-4711", 271828.125
"""What bad cells hold: no answer may repeat it."""
TYPES = {"amount": "float64", "age": "int64", "visits": "int32", "country": "object", "vip": "bool"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """A body; `rows` for a good one, `column` where one column is to be blamed for a bad one."""

    body: bytes
    media_type: str = JSON
    rows: tuple[Row, ...] = ()
    column: str = ""

    @property
    def frame(self) -> pd.DataFrame:
        """The input as the model's own predict takes it."""
        return pd.DataFrame(list(self.rows), columns=list(TYPES)).astype(TYPES)


def _whole(low: int, high: int) -> st.SearchStrategy[Any]:
    """Whole numbers, also in the clothes of a float where nothing is lost."""
    return st.integers(low, high) | st.integers(max(low, -(2**40)), min(high, 2**40)).map(float)


CELLS: Mapping[str, st.SearchStrategy[Any]] = {
    "amount": st.floats(-1e30, 1e30, allow_subnormal=False) | st.integers(-(2**53), 2**53),
    "age": _whole(-(2**53), 2**53),
    "visits": _whole(-(2**31), 2**31 - 1),
    "country": st.sampled_from(["AT", "DE", "FR"]) | st.text(max_size=8),
    "vip": st.booleans(),
}
# What each type refuses; a null is refused by all.
WRONG: Mapping[str, st.SearchStrategy[Any]] = {
    "amount": st.sampled_from([SECRET, True, [SECRET_NUMBER], {SECRET: 1}]),
    "age": st.sampled_from([SECRET, SECRET_NUMBER, 2**63, False, 1e300]),
    "visits": st.sampled_from([SECRET, SECRET_NUMBER, 3_000_000_000, -(2**31) - 1, True]),
    "country": st.sampled_from([SECRET_NUMBER, 1, True, [SECRET], {SECRET: SECRET}]),
    "vip": st.sampled_from([SECRET, 0, 1, SECRET_NUMBER, "true"]),
}
ROWS = st.lists(st.fixed_dictionaries(dict(CELLS)), min_size=1, max_size=3)


def split(rows: list[Row]) -> dict[str, Any]:
    """Return rows as dataframe_split; their columns are those of the first."""
    names = list(rows[0])
    return {"dataframe_split": {"columns": names, "data": [[row[name] for name in names] for row in rows]}}


FORMATS: tuple[Callable[[list[Row]], dict[str, Any]], ...] = (
    split,
    lambda rows: {"dataframe_records": rows},
    lambda rows: {"instances": rows},
    lambda rows: {"inputs": {name: [row[name] for row in rows] for name in rows[0]}},
)


def _json(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows[0])
    writer.writerows([repr(row[n]) if isinstance(row[n], float) else row[n] for n in rows[0]] for row in rows)
    return text.getvalue().encode()


@st.composite
def good(draw: st.DrawFn) -> Request:
    """A request that the model can answer: any format, any order of columns, perhaps one too many."""
    rows = draw(ROWS)
    sent = rows
    if draw(st.booleans()):
        order = draw(st.permutations(list(TYPES)))
        sent = [{name: row[name] for name in order} | {"unheard_of": SECRET} for row in rows]
    if draw(st.integers(0, 7)) == 0 and all(row["country"] in ("AT", "DE", "FR") for row in rows):
        return Request(_csv(sent), CSV, tuple(rows))
    return Request(_json(draw(st.sampled_from(FORMATS))(sent)), JSON, tuple(rows))


@st.composite
def wrong_cell(draw: st.DrawFn) -> Request:
    """One cell of the wrong type, null, or out of range; or its column left out."""
    rows, column = draw(ROWS), draw(st.sampled_from(list(TYPES)))
    if draw(st.integers(0, 5)) == 0:
        sent = [{name: value for name, value in row.items() if name != column} for row in rows]
    else:
        place = draw(st.integers(0, len(rows) - 1))
        cell = draw(WRONG[column] | st.none())
        sent = [row | {column: cell} if number == place else row for number, row in enumerate(rows)]
    return Request(_json(draw(st.sampled_from(FORMATS))(sent)), column=column)


def _breakages(rows: list[Row]) -> list[Request]:
    """Return bodies that are no table, or none that is served."""
    whole = _json(split(rows))
    table = split(rows)["dataframe_split"]
    return [
        Request(whole[:-1]),
        Request(b"\xff" + whole),
        Request(whole, "application/xml"),
        Request(whole, f"{JSON}; charset=latin-1"),
        Request(b""),
        Request(_json([SECRET])),
        Request(_json({SECRET: SECRET_NUMBER})),
        Request(_json(split(rows) | {"instances": rows})),
        Request(_json({"dataframe_split": table | {"data": []}})),
        Request(_json({"dataframe_split": table | {"data": [*table["data"], [SECRET]]}})),
        Request(_json({"dataframe_split": table | {"columns": ["amount"] * len(TYPES)}})),
        Request(_json({"dataframe_split": table | {SECRET: 1}})),
        Request(_json({"dataframe_records": [SECRET]})),
        Request(_json({"inputs": SECRET})),
        Request(f'{{"instances": {"9" * 5000}}}'.encode()),
        Request(b'{"inputs": ' + b"[" * 100_000),
        Request(b"amount,age\n1", CSV),
        Request(f"{','.join(TYPES)}\n{SECRET},1,1,AT,true\n".encode(), CSV, column="amount"),
    ]


@st.composite
def broken(draw: st.DrawFn) -> Request:
    """A body that is broken as a whole."""
    return draw(st.sampled_from(_breakages(draw(ROWS))))


REQUESTS = good() | good() | wrong_cell() | broken()
