"""The text of a policy: thresholds and rules by name, read strictly.

thresholds:
  threshold: 0.8
rules:
  decision: "score > policy.threshold ? 'review' : 'accept'"
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

FILE = "policy.yaml"
"""The key of the ConfigMap, and so the file's name where it is mounted."""
LONGEST_TEXT, LONGEST_RULE, LONGEST_VALUE = 64 * 2**10, 2000, 256
MOST_THRESHOLDS, MOST_RULES = 64, 32
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)
RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
    "namespace", "null", "package", "return", "true", "var", "void", "while",
})  # fmt: skip
"""Words that the rules' language keeps for itself."""

Threshold = float | str | bool


@dataclass(frozen=True, slots=True)
class Document:
    """A policy as it was written. `hash` is of its bytes: equal hashes, equal rules."""

    hash: str
    thresholds: Mapping[str, Threshold] = field(hash=False)
    rules: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A text that is no policy, and every reason found; what the text holds is named, never quoted at length."""

    hash: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line for a condition or a log."""
        return "; ".join(self.problems)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: the first would be dropped without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping."""
        keys = [key.value for key, _ in node.value]
        if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
            raise yaml.MarkedYAMLError(problem=f"{twice[0]} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def hash_of(text: str) -> str:
    """Return the hash by which answers, metrics and the status name a policy."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse(text: str) -> Document | Refused:
    """Read the text of a policy; a name or a value that cannot be used is named with what would be right."""
    digest = hash_of(text)
    if len(text.encode()) > LONGEST_TEXT:
        return Refused(digest, (f"{FILE} has more than {LONGEST_TEXT} bytes",))
    try:
        found = yaml.load(text, _Loader)  # noqa: S506 a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        return Refused(digest, (_not_yaml(fault),))
    return _document(digest, found)


def _not_yaml(fault: Exception) -> str:
    mark = getattr(fault, "problem_mark", None)
    where = f" at line {mark.line + 1}" if mark else ""
    said = getattr(fault, "problem", None) or "a value cannot be read"
    hint = ": put the rule in quotes, for it has a colon" if "mapping values" in said else ""
    return f"{FILE} is not YAML: {said}{where}{hint}"


def _document(digest: str, found: Any) -> Document | Refused:
    if not isinstance(found, dict) or not found.keys() <= {"thresholds", "rules"}:
        return Refused(digest, (f"{FILE} must be a mapping of 'thresholds' and 'rules', and nothing else",))
    thresholds, rules = found.get("thresholds") or {}, found.get("rules") or {}
    problems = (
        *_sized("thresholds", thresholds, MOST_THRESHOLDS, 0),
        *_sized("rules", rules, MOST_RULES, 1),
    ) or (
        *(problem for name, value in thresholds.items() if (problem := _threshold(name, value))),
        *(problem for name, rule in rules.items() if (problem := _rule(name, rule))),
    )
    if problems:
        return Refused(digest, problems)
    return Document(digest, {name: _plain(value) for name, value in thresholds.items()}, rules)


def _plain(value: Any) -> Threshold:
    return float(value) if type(value) is int else value


def _sized(key: str, found: Any, most: int, least: int) -> tuple[str, ...]:
    if not isinstance(found, dict):
        return (f"{key}: must be a mapping of names",)
    if not least <= len(found) <= most:
        return (f"{key}: has {len(found)} entries; {least} to {most} are allowed",)
    return ()


def _named(key: str, name: Any) -> str:
    if isinstance(name, str) and _NAME.fullmatch(name) and name not in RESERVED:
        return ""
    return f"{key}: {str(name)[:64]!r} is no name: write letters, digits and '_', a letter first, such as threshold"


def _threshold(name: Any, value: Any) -> str:
    if problem := _named("thresholds", name):
        return problem
    match value:
        case bool():
            return ""
        case str() if len(value) <= LONGEST_VALUE:
            return ""
        case int() | float() if _is_finite(value):
            return ""
    return f"thresholds.{name}: must be a finite number, true or false, or a text of {LONGEST_VALUE} letters at most"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _rule(name: Any, rule: Any) -> str:
    if problem := _named("rules", name):
        return problem
    if isinstance(rule, str) and 0 < len(rule) <= LONGEST_RULE:
        return ""
    return f"rules.{name}: must be an expression of 1 to {LONGEST_RULE} letters, such as score > policy.threshold"
