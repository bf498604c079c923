"""What is called compatible, MLflow's own enforcement accepts: for every payload that the old signature accepted."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_params_schema, _enforce_schema
from mlflow.types import ParamSchema, Schema

from modelramp.adapters.mlflow_signature import read_signature
from modelramp.rollout.signature import compare

pytestmark = pytest.mark.slow
logging.getLogger("mlflow").setLevel(logging.ERROR)

Column = dict[str, Any]
PLAIN = ("long", "integer", "float", "double", "string", "boolean", "datetime")
DTYPES = {
    "long": "int64", "integer": "int32", "float": "float32", "double": "float64", "boolean": "bool",
    "datetime": "datetime64[ns]",
}  # fmt: skip
NAMES = ("amount", "hour", "country")


def plain() -> st.SearchStrategy[Column]:
    return st.sampled_from(PLAIN).map(lambda name: {"type": name})


def nested() -> st.SearchStrategy[Column]:
    fields = st.dictionaries(
        st.sampled_from(("a", "b")),
        st.builds(lambda kind, required: {**kind, "required": required}, plain(), st.booleans()),
        min_size=1,
    )
    return st.one_of(
        plain().map(lambda items: {"type": "array", "items": items}),
        plain().map(lambda values: {"type": "map", "values": values}),
        fields.map(lambda properties: {"type": "object", "properties": properties}),
    )


def column(name: str) -> st.SearchStrategy[Column]:
    kinds = st.one_of(plain(), plain(), nested())
    return st.builds(lambda kind, required: {**kind, "name": name, "required": required}, kinds, st.booleans())


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    listed = [draw(column(name)) for name in names]
    return listed if draw(st.integers(0, 4)) else [unnamed(each) for each in listed]


def unnamed(listed: Column) -> Column:
    return {key: value for key, value in listed.items() if key != "name"} | {"required": True}


@st.composite
def edited(draw: st.DrawFn, old: list[Column]) -> list[Column]:
    """Return the columns after the kinds of edits that people make, good and bad."""
    new, named = copy.deepcopy(old), "name" in old[0]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(new) - 1))
        match draw(st.integers(0, 5)):
            case 0:
                new[at] |= {"required": not new[at]["required"] or not named}
            case 1 if new[at]["type"] in PLAIN:
                new[at]["type"] = draw(st.sampled_from((*PLAIN, "any")))
                new[at] |= {"required": False} if new[at]["type"] == "any" else {}
            case 2 if len(new) > 1:
                del new[at]
            case 3:
                free = [name for name in NAMES if name not in [each.get("name") for each in new]]
                if free or not named:
                    added = draw(column(free[0] if free else "more"))
                    new.append(added if named else unnamed(added))
            case 4 if new[at]["type"] == "object":
                new[at]["properties"] = draw(nested().filter(lambda kind: kind["type"] == "object"))["properties"]
            case 5 if new[at]["type"] in ("array", "map"):
                new[at]["items" if new[at]["type"] == "array" else "values"] = draw(plain())
            case _:
                new.reverse()
    return new


@st.composite
def cells(draw: st.DrawFn, kind: Column) -> Any:
    match kind["type"]:
        case "array":
            return draw(st.lists(cells(kind["items"]), max_size=2))
        case "map":
            return {"k": draw(cells(kind["values"]))}
        case "object":
            present = {key: each for key, each in kind["properties"].items() if each["required"] or draw(st.booleans())}
            return {key: draw(cells(each)) for key, each in present.items()}
        case "string" | "datetime":
            return draw(st.sampled_from(["x", "1"])) if kind["type"] == "string" else np.datetime64("2026-11-25")
        case name:
            number = draw(st.sampled_from([0, 1, 2, 100]))
            return np.dtype(draw(fitting(name))).type(number)


def fitting(name: str) -> st.SearchStrategy[str]:
    """Return the dtype itself most of the time, and those that MLflow may widen, or take for a whole number."""
    return st.sampled_from((DTYPES[name],) * 4 + ("int8", "uint8", "int16", "int32", "float32", "int64"))


@st.composite
def frames(draw: st.DrawFn, listed: list[Column]) -> pd.DataFrame:
    rows, given_columns = draw(st.integers(1, 2)), {}
    for at, each in enumerate(listed):
        if not each["required"] and draw(st.booleans()):
            continue
        kind, key = each["type"], each.get("name", at)
        values = [draw(cells(each)) for _ in range(rows)]
        dtype = draw(fitting(kind)) if kind in DTYPES and kind != "datetime" else DTYPES.get(kind, "object")
        given_columns[key] = pd.Series(values, dtype=object if kind not in DTYPES else dtype)
        if not each["required"] and draw(st.integers(0, 3)) == 0:
            given_columns[key] = pd.Series([None] * rows, dtype=object)
    frame = pd.DataFrame(given_columns)
    return frame.assign(extra=1) if draw(st.booleans()) and "name" in listed[0] else frame


def payloads(listed: list[Column]) -> st.SearchStrategy[Any]:
    """Return frames, and the mappings that requests with `inputs` come as: of lists, or of one value each."""
    whole = frames(listed)
    if "name" not in listed[0]:
        return whole
    lists = whole.map(lambda frame: {str(key): list(frame[key]) for key in frame})
    rows = whole.filter(len).map(lambda frame: {str(key): frame[key].iloc[0] for key in frame})
    return st.one_of(whole, lists, rows)


def unshared(payload: Any) -> Any:
    """Return a copy down to the cells of a frame, which MLflow rewrites in place."""
    return pickle.loads(pickle.dumps(payload))


def accepts(listed: list[Column], payload: Any) -> bool:
    try:
        _enforce_schema(unshared(payload), Schema.from_json(json.dumps(listed)))
    except (MlflowException, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
        return False
    return True


def compatible(old: list[Column], new: list[Column]) -> bool:
    before, after = (read_signature({"inputs": json.dumps(listed)}) for listed in (old, new))
    assert before is not None
    assert after is not None
    return not any(change.breaks for change in compare(before, after))


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_is_compatible_takes_every_request_that_was_taken_before(data: st.DataObject) -> None:
    old = data.draw(columns())
    new = data.draw(edited(old))
    assume(compatible(old, new))
    payload = data.draw(payloads(old))
    assume(accepts(old, payload))
    event("changed" if old != new else "the same")
    assert accepts(new, payload), (old, new, payload)


SHAPES = ([-1], [2], [-1, 2], [-1, -1], [2, 2], [-1, 2, -1])


@st.composite
def tensors(draw: st.DrawFn) -> list[Column]:
    def one(name: str | None) -> Column:
        spec = {
            "dtype": draw(st.sampled_from(["float32", "float64", "object"])),
            "shape": draw(st.sampled_from(SHAPES)),
        }
        return {"type": "tensor", "tensor-spec": spec} | ({"name": name} if name else {})

    return [one(name) for name in draw(st.sampled_from([(None,), ("a",), ("a", "b")]))]


def arrays(tensor: Column) -> st.SearchStrategy[Any]:
    spec = tensor["tensor-spec"]
    lengths = st.tuples(*(st.just(length) if length > 0 else st.integers(1, 2) for length in spec["shape"]))
    return lengths.map(lambda shape: np.ones(shape, dtype=spec["dtype"]))


@st.composite
def tensor_payloads(draw: st.DrawFn, listed: list[Column]) -> Any:
    made = {each.get("name", "0"): draw(arrays(each)) for each in listed}
    if draw(st.booleans()):
        rows = min(len(array) for array in made.values())
        return pd.DataFrame({key: [np.ravel(row).tolist() for row in array[:rows]] for key, array in made.items()})
    return made if "name" in listed[0] or draw(st.booleans()) else made["0"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_is_compatible_takes_every_tensor_that_was_taken_before(data: st.DataObject) -> None:
    old, other = data.draw(tensors()), data.draw(tensors())
    new = copy.deepcopy(old)
    for each in new:
        if data.draw(st.booleans()):
            each["tensor-spec"]["shape"] = data.draw(st.sampled_from(SHAPES))
    new = data.draw(st.sampled_from([new, new[:1], other]))
    assume(compatible(old, new))
    payload = data.draw(tensor_payloads(old))
    assume(accepts(old, payload))
    assert accepts(new, payload), (old, new, payload)


PARAMS = st.lists(
    st.builds(
        lambda name, kind, many: {
            "name": name, "type": kind, "default": [kind == "boolean" or 1] if many else (kind == "boolean" or 1),
            "shape": [-1] if many else None,
        },
        st.sampled_from(("k", "t")), st.sampled_from(("long", "double", "boolean")), st.booleans(),
    ),
    max_size=2, unique_by=lambda param: param["name"],
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(PARAMS, PARAMS, st.data())
def test_what_is_compatible_takes_every_parameter_that_was_taken_before(
    old: list[Column], new: list[Column], data: st.DataObject
) -> None:
    columns = json.dumps([{"type": "long", "name": "amount", "required": True}])
    before, after = (read_signature({"inputs": columns, "params": json.dumps(each)}) for each in (old, new))
    assert before is not None
    assert after is not None
    assume(not any(change.breaks for change in compare(before, after)))
    values = st.sampled_from((1, 2.5, True, [1], [2.5], [True]))
    given_params = data.draw(st.fixed_dictionaries({}, optional={each["name"]: values for each in old}))
    assume(takes(old, given_params))
    assert takes(new, given_params)


def takes(listed: list[Column], params: dict[str, Any]) -> bool:
    try:
        _enforce_params_schema(dict(params), ParamSchema.from_json(json.dumps(listed)) if listed else None)
    except MlflowException:
        return False
    return True


AMOUNT: Column = {"type": "double", "name": "amount", "required": True}
HOUR: Column = {"type": "long", "name": "hour", "required": True}


def tensor(*shape: int, dtype: str = "float32") -> list[Column]:
    return [{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}]


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        ([AMOUNT, HOUR], [HOUR, AMOUNT], False),
        ([AMOUNT], [AMOUNT, HOUR | {"required": False}], False),
        ([AMOUNT], [AMOUNT, HOUR], True),
        ([AMOUNT, HOUR], [AMOUNT], False),
        ([AMOUNT], [AMOUNT | {"required": False}], False),
        ([AMOUNT | {"required": False}], [AMOUNT], True),
        ([HOUR | {"type": "integer"}], [HOUR], False),
        ([HOUR], [HOUR | {"type": "integer"}], True),
        ([HOUR], [HOUR | {"type": "double"}], True),
        ([AMOUNT | {"type": "float"}], [AMOUNT], False),
        ([AMOUNT], [{"type": "double", "required": True}], True),
        (tensor(2, 28), tensor(-1, 28), False),
        (tensor(-1, 28), tensor(2, 28), True),
        (tensor(-1, 28), tensor(-1, 28, 1), True),
        (tensor(-1, 28), tensor(-1, 28, dtype="float64"), True),
        ([AMOUNT], tensor(-1, 1), True),
    ],
)  # fmt: skip
def test_inputs_as_the_table_has_them(old: list[Column], new: list[Column], breaks: bool) -> None:
    assert compatible(old, new) is not breaks


PROBABILITY: Column = {"type": "double", "name": "probability", "required": True}


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        ([PROBABILITY], [PROBABILITY, AMOUNT], False),
        ([PROBABILITY, AMOUNT], [PROBABILITY], True),
        ([PROBABILITY], [PROBABILITY | {"type": "long"}], True),
        ([PROBABILITY], [PROBABILITY | {"type": "float"}], False),
        ([PROBABILITY], [PROBABILITY | {"required": False}], True),
        ([PROBABILITY | {"required": False}], [PROBABILITY], False),
    ],
)
def test_outputs_the_other_way_round(old: list[Column], new: list[Column], breaks: bool) -> None:
    before, after = (read_signature({"inputs": "[]", "outputs": json.dumps(listed)}) for listed in (old, new))
    assert before is not None
    assert after is not None
    assert any(change.breaks for change in compare(before, after)) is breaks
