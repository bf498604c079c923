"""Rules in CEL (https://cel.dev), compiled with the types of what they speak of, evaluated row by row.

A rule sees `score` (the model's only output), `outputs.NAME`, `inputs.NAME` and `policy.NAME`, the thresholds. Every
number is a double. Names that are no identifiers are reached as `inputs['petal length']`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cel_expr_python import cel

from modelramp_policy.document import RESERVED, Document, Refused

Decision = str | bool | float
_GROUPS = ("outputs", "inputs")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LONGEST_PROBLEM = 200
_TEXT = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
_SELECTED = re.compile(r"\b(outputs|inputs)\s*[.]\s*([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_INDEXED = re.compile(r"""\b(outputs|inputs)\s*\[\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\]""", re.ASCII)


class Kind(Enum):
    """What a value is, as far as the rules are concerned; ANY is known only when it is there."""

    NUMBER = "double"
    TEXT = "string"
    TRUTH = "bool"
    ANY = "dyn"


OPEN: Mapping[str, Kind] = {"score": Kind.ANY, "outputs": Kind.ANY, "inputs": Kind.ANY}
"""What is known of a model's columns without the model."""

_TYPES = {
    Kind.NUMBER: cel.Type.DOUBLE,
    Kind.TEXT: cel.Type.STRING,
    Kind.TRUTH: cel.Type.BOOL,
    Kind.ANY: cel.Type.DYN,
}
_RESULTS = (cel.Type.STRING, cel.Type.BOOL, cel.Type.DOUBLE, cel.Type.INT, cel.Type.DYN)


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that gave no decision on a row; the message holds no data of the row."""

    rule: str
    message: str

    def __str__(self) -> str:
        """Return one line."""
        return f"rules.{self.rule}: {self.message}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Compiled rules. Never changes: an answer that holds on to one is decided by it alone."""

    document: Document
    rules: Mapping[str, Any]
    names: frozenset[str]
    """The columns that the rules may look at, such as `inputs.amount`."""

    @property
    def hash(self) -> str:
        """Return the hash of the text."""
        return self.document.hash

    def decide(self, columns: Mapping[str, Sequence[Any]], rows: int) -> dict[str, list[Decision]] | Fault:
        """Return each rule's decision for every row, or the first fault; `columns` by name, as long as `rows`."""
        decided: dict[str, list[Decision]] = {name: [] for name in self.rules}
        for row in self._activations(columns, rows):
            for name, rule in self.rules.items():
                decision = _decision(name, rule.eval(data=row))
                if isinstance(decision, Fault):
                    return decision
                decided[name].append(decision)
        return decided

    def _activations(self, columns: Mapping[str, Sequence[Any]], rows: int) -> Iterator[dict[str, Any]]:
        thresholds = {f"policy.{name}": value for name, value in self.document.thresholds.items()}
        dotted = [(name, columns[name]) for name in self.names if name in columns and _is_dotted(name)]
        for number in range(rows):
            row: dict[str, Any] = thresholds | {name: _plain(values[number]) for name, values in dotted}
            for group in _GROUPS:
                if group in self.names:
                    row[group] = {
                        name[len(group) + 1 :]: _plain(values[number])
                        for name, values in columns.items()
                        if name.startswith(f"{group}.")
                    }
            yield row


def compile_rules(document: Document, kinds: Mapping[str, Kind]) -> Policy | Refused:
    """Compile every rule against the columns it may speak of, or return every rule's problem.

    `kinds` names the columns as rules do (`score`, `outputs.label`, `inputs.amount`), or is OPEN.
    """
    declared = _declared(kinds)
    variables = {name: _TYPES[kind] for name, kind in declared.items()}
    variables |= {f"policy.{name}": _TYPES[_kind(value)] for name, value in document.thresholds.items()}
    compiled: dict[str, Any] = {}
    problems = []
    environment = cel.NewEnv(variables=variables)
    for name, source in document.rules.items():
        found = _unknown(source, kinds) or _compile(environment, source)
        if isinstance(found, str):
            problems.append(f"rules.{name}: {found}")
        compiled[name] = found
    if problems:
        return Refused(document.hash, tuple(problems))
    return Policy(document, compiled, frozenset(_spoken_of(document, declared)))


def _declared(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the variables: a column each, and the whole group where some column's name is no identifier."""
    dotted = {name: kind for name, kind in kinds.items() if _is_dotted(name)}
    groups = {name.partition(".")[0]: Kind.ANY for name in kinds if not _is_dotted(name)}
    return dotted | groups


def _is_dotted(name: str) -> bool:
    return all(_IDENTIFIER.fullmatch(part) and part not in RESERVED for part in name.split(".", 1))


def _spoken_of(document: Document, declared: Mapping[str, Kind]) -> Iterator[str]:
    """Yield the variables whose last word is in some rule: the others need not be filled in."""
    words = {word for rule in document.rules.values() for word in _IDENTIFIER.findall(rule)}
    return (name for name in declared if name.rpartition(".")[2] in words)


def _unknown(source: str, kinds: Mapping[str, Kind]) -> str:
    """Return which column there is not: the engine does not look into a group that is declared whole."""
    if kinds is OPEN:
        return ""
    selected = [f"{group}.{name}" for group, name in _SELECTED.findall(_TEXT.sub("''", source))]
    indexed = [f"{group}.{single or double}" for group, single, double in _INDEXED.findall(source)]
    missing = next((name for name in (*selected, *indexed) if name not in kinds), "")
    return f"undeclared reference to '{missing}'; there are {_shown(kinds)}" if missing else ""


def _shown(kinds: Mapping[str, Kind]) -> str:
    names = [name if _is_dotted(name) else name.replace(".", "['", 1) + "']" for name in sorted(kinds)]
    return ", ".join(names[:20]) + (" and more" if len(names) > 20 else "")


def _kind(value: object) -> Kind:
    match value:
        case bool():
            return Kind.TRUTH
        case str():
            return Kind.TEXT
    return Kind.NUMBER


def _compile(environment: Any, source: str) -> Any:
    """Return the compiled rule, or in words why it is none."""
    try:
        rule = environment.compile(source)
    except RuntimeError as fault:
        return _problem(str(fault))
    if rule.return_type() not in _RESULTS:
        return f"gives {rule.return_type().name()}; a text, a number, true or false is wanted"
    return rule


def _problem(said: str) -> str:
    """Return the engine's first complaint, with its place: `ERROR: <input>:1:6: what` and drawings follow."""
    found = re.search(r"<input>:(\d+):(\d+): (.*)", said)
    text = f"{found[3]} (line {found[1]}, column {int(found[2]) + 1})" if found else said.partition("\n")[0]
    text = text.replace(" (in container '')", "")[:_LONGEST_PROBLEM]
    mixed = {"'(double, int)'", "'(int, double)'"}
    hint = "; every number is a double: write 1.0 instead of 1" if any(pair in text for pair in mixed) else ""
    return text + hint


def _plain(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _decision(name: str, result: Any) -> Decision | Fault:
    kind = result.type()
    if kind == cel.Type.ERROR:
        return Fault(name, _problem(str(result.value())))
    value = result.value()
    match value:
        case bool() | str():
            return value
        case int() | float() if math.isfinite(value):
            return float(value)
    return Fault(name, f"gave {kind.name()}; a text, a finite number, true or false is wanted")
