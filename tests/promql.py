"""PromQL as the tests read it, apart from the product's own reading: a lexer, and text that wants to break out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

_SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_HEXADECIMAL = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True)
class Literal:
    """A string of the query, unquoted."""

    text: str


@dataclass(frozen=True)
class Plain:
    """One character outside all strings and comments."""

    character: str


class NoPromqlError(Exception):
    """The text is no sequence of PromQL tokens."""


def tokens(query: str) -> Iterator[Literal | Plain]:
    """Yield a query's strings, and every other character that is no comment and no space.

    Follows promql/parser/lex.go and strutil/quote.go: Go's escapes, no newline inside quotes, raw backticks.
    """
    rest = iter(query)
    for character in rest:
        if character in "\"'":
            yield Literal("".join(_quoted(character, rest)))
        elif character == "`":
            yield Literal("".join(_until("`", rest)))
        elif character == "#":
            _skip_line(rest)
        elif not character.isspace():
            yield Plain(character)


def _quoted(quote: str, rest: Iterator[str]) -> Iterator[str]:
    for character in rest:
        if character == quote:
            return
        if character in "\n\ufffd":
            raise NoPromqlError(repr(character))
        yield _escaped(quote, rest) if character == "\\" else character
    raise NoPromqlError("no end of the string")


def _escaped(quote: str, rest: Iterator[str]) -> str:
    kind = next(rest, "")
    if kind in _HEXADECIMAL:
        digits = "".join(next(rest, "") for _ in range(_HEXADECIMAL[kind]))
        code = int(digits, 16)
        if 0xD800 <= code < 0xE000:
            raise NoPromqlError("surrogate")
        return chr(code)
    if kind == quote:
        return quote
    if kind not in _SINGLE or not kind:
        raise NoPromqlError(f"\\{kind}")
    return _SINGLE[kind]


def _until(end: str, rest: Iterator[str]) -> Iterator[str]:
    for character in rest:
        if character == end:
            return
        yield character
    raise NoPromqlError("no end of the raw string")


def _skip_line(rest: Iterator[str]) -> None:
    for character in rest:
        if character == "\n":
            return


HOSTILE = (
    '"', "'", "`", "\\", "\\\\", "\n", "\r", "\x00", "\x1b", "\x7f", "\u0085", "\u2028", "\ufeff", "\ufffd",
    '"} or vector(1) #', '\\"} or vector(1) #', "'} or vector(1) #", "`} or vector(1) #", '", version=~".*', "#", "\n#",
    "{{", "}}", "{{version}}", "{{ namespace }}", "$1", "%s", ".*", "\\u0022", "\\x22", "\\N", "[5m]", "{}",
)  # fmt: skip

hostile_text = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(HOSTILE) | st.text(max_size=3), max_size=8).map("".join),
)
"""Any text but surrogates, which are no text."""

_PIECES = (
    "up", "sum(", ")", "{", "}", "a=", ", ", "[", "]", " ", "\n", "#", "\\", '"', "'", "`", "{{name}}", "{{ version }}",
    "{{window}}", "{{", "}}", "=~", "!~", '"x"', "'y'", "`z`", '"\\""', "'\\''", "# it's\n", "\ufffd",
)  # fmt: skip

_TERMS = (
    "up{a={{name}}}", 'up{b="\\"", a={{ version }}}', "up{b='\\'', a!={{stable}}}", "up{b=`\\`, a={{name}}}",
    "vector(1) # it's {{name}}\n", "rate(up[{{window}}])", 'label_replace(up, "a", {{name}}, "b", ".*")', "{{name}}",
)  # fmt: skip

query_text = st.one_of(
    st.lists(st.sampled_from(_TERMS), min_size=1, max_size=4).map(" + ".join),
    st.lists(st.sampled_from(_PIECES) | st.text(max_size=2), max_size=12).map("".join),
)
"""Queries that people write, some of them badly."""
