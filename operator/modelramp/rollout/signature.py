"""A model's signature, and whether one may take the place of another: field by field, as MLflow enforces it.

Compatible means: each request that the old one takes the new one takes too, and each answer of the new one is
one that a client of the old can read. Where MLflow is lenient towards one form of request and strict towards
another, the strict form counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import assert_never

WIDER = {"integer": {"long", "double"}, "float": {"double"}}
"""The types that hold every value of another; long does not fit into double without loss."""
ANY_LENGTH = -1


@dataclass(frozen=True, slots=True)
class Plain:
    """One of MLflow's data types, such as long, double or string; "any" takes everything but a datetime."""

    name: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array of one dtype; a length of -1 is any."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of one type."""

    items: Kind


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map from text to one type."""

    values: Kind


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """An object with its properties."""

    properties: tuple[Field, ...]


Kind = Plain | Tensor | ListOf | MapOf | ObjectOf


@dataclass(frozen=True, slots=True)
class Field:
    """A column, a tensor or a property; columns and tensors may be without a name."""

    name: str
    kind: Kind
    required: bool = True


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a request; it always has a default."""

    name: str
    kind: str
    default: str
    shape: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and returns; None where that was not logged."""

    inputs: tuple[Field, ...] | None
    outputs: tuple[Field, ...] | None = None
    params: tuple[Param, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One difference at a place such as inputs/amount; `breaks` tells whether a client would notice it by failing."""

    place: str
    what: str
    breaks: bool

    def __str__(self) -> str:
        """Return the place and the difference."""
        return f"{self.place}: {self.what}"


def compare(old: Signature, new: Signature) -> tuple[Change, ...]:
    """Return every difference; the new is compatible with the old when none breaks."""
    return (
        *_part("inputs", old.inputs, new.inputs, reads=False),
        *_part("outputs", old.outputs, new.outputs, reads=True),
        *_params(old.params, new.params),
    )


def _part(part: str, old: tuple[Field, ...] | None, new: tuple[Field, ...] | None, *, reads: bool) -> Iterator[Change]:
    """`reads` tells that the client reads this part: then the new must fit into the old, else the old into the new."""
    if not old or not new:
        if old or new:
            yield Change(part, "lost" if old else "added", breaks=bool(old))
        return
    if _form(old) != _form(new):
        yield Change(part, f"{_form(old)} -> {_form(new)}", breaks=True)
        return
    if not reads and _is_nested(old) is not _is_nested(new):
        # MLflow reads {"a": [1, 2]} as one row where any column is nested, and as two where none is.
        yield Change(part, "requests are read row by row where a column is nested, and not where none is", breaks=True)
    yield from _fields(part + "/", _keyed(old), _keyed(new), reads=reads)


def _form(fields: tuple[Field, ...]) -> str:
    named = "named" if all(field.name for field in fields) else "unnamed"
    return f"{named} {'tensors' if isinstance(fields[0].kind, Tensor) else 'columns'}"


def _is_nested(fields: tuple[Field, ...]) -> bool:
    return any(isinstance(field.kind, ListOf | ObjectOf) for field in fields)


def _keyed(fields: tuple[Field, ...]) -> dict[str, Field]:
    return {field.name or str(index): field for index, field in enumerate(fields)}


def _fields(
    above: str, old: Mapping[str, Field], new: Mapping[str, Field], *, reads: bool, strict: bool = False
) -> Iterator[Change]:
    """`strict` tells that a request may not have more than the fields: MLflow ignores columns, not properties."""
    for key in [*old, *(key for key in new if key not in old)]:
        before, after, place = old.get(key), new.get(key), f"{above}{key}"
        if after is None:
            yield Change(place, "removed", breaks=reads or strict)
        elif before is None:
            required = after.required or not after.name
            yield Change(place, f"added, {'required' if required else 'optional'}", breaks=required and not reads)
        else:
            if before.required is not after.required:
                what = f"{_need(before)} -> {_need(after)}"
                yield Change(place, what, breaks=after.required is not reads)
            yield from _kinds(place, before.kind, after.kind, reads=reads)


def _need(field: Field) -> str:
    return "required" if field.required else "optional"


def _kinds(place: str, old: Kind, new: Kind, *, reads: bool) -> Iterator[Change]:
    match old, new:
        case Tensor(), Tensor():
            yield from _tensors(place, old, new, reads=reads)
        case ListOf(before), ListOf(after):
            yield from _kinds(f"{place}[]", before, after, reads=reads)
        case MapOf(before), MapOf(after):
            yield from _kinds(f"{place}{{}}", before, after, reads=reads)
        case ObjectOf(before), ObjectOf(after):
            keyed = _keyed(before), _keyed(after)
            yield from _fields(f"{place}.", *keyed, reads=reads, strict=True)
        case _ if old != new:
            narrow, wide = (new, old) if reads else (old, new)
            yield Change(place, f"{spell(old)} -> {spell(new)}", breaks=not _holds(wide, narrow))


def _holds(wide: Kind, narrow: Kind) -> bool:
    if not isinstance(wide, Plain):
        return False
    if wide.name == "any":
        return not _holds_moments(narrow)
    return isinstance(narrow, Plain) and wide.name in WIDER.get(narrow.name, ())


def _holds_moments(kind: Kind) -> bool:
    """Tell whether a datetime is in it: MLflow's "any" takes none out of a data frame."""
    match kind:
        case Plain(name):
            return name == "datetime"
        case ListOf(inner) | MapOf(inner):
            return _holds_moments(inner)
        case ObjectOf(properties):
            return any(_holds_moments(each.kind) for each in properties)
        case Tensor(dtype):
            return dtype.startswith("datetime")
        case other:
            assert_never(other)


def _tensors(place: str, old: Tensor, new: Tensor, *, reads: bool) -> Iterator[Change]:
    if old.dtype != new.dtype:
        yield Change(place, f"{old.dtype} -> {new.dtype}", breaks=True)
    if old.shape != new.shape:
        narrow, wide = (new, old) if reads else (old, new)
        fits = len(narrow.shape) == len(wide.shape) and all(
            length in (ANY_LENGTH, given) for length, given in zip_longest(wide.shape, narrow.shape)
        )
        framed = not reads and _takes_frames(old) and not _takes_frames(new)
        yield Change(place, f"shape {list(old.shape)} -> {list(new.shape)}", breaks=framed or not fits)


def _takes_frames(tensor: Tensor) -> bool:
    """Tell whether MLflow takes a data frame for a tensor: any number of rows, each of one fixed shape."""
    return tensor.shape[:1] == (ANY_LENGTH,) and ANY_LENGTH not in tensor.shape[1:]


def _params(old: tuple[Param, ...], new: tuple[Param, ...]) -> Iterator[Change]:
    before, after = ({param.name: param for param in params} for params in (old, new))
    for name in [*before, *(name for name in after if name not in before)]:
        place, known, given = f"params/{name}", before.get(name), after.get(name)
        if known is None or given is None:
            yield Change(place, "added with a default" if known is None else "removed: it is ignored", breaks=False)
            continue
        if (known.kind, known.shape) != (given.kind, given.shape):
            yield Change(place, f"{known.kind}{known.shape} -> {given.kind}{given.shape}", breaks=True)
        if known.default != given.default:
            yield Change(place, "default changed", breaks=False)


def spell(kind: Kind) -> str:
    """Return a type in a word."""
    match kind:
        case Plain(name):
            return name
        case Tensor(dtype, shape):
            return f"{dtype}{list(shape)}"
        case ListOf(items):
            return f"list of {spell(items)}"
        case MapOf(values):
            return f"map of {spell(values)}"
        case ObjectOf():
            return "object"
