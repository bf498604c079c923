"""Judge manifests without a cluster: what the API server would refuse, and how to write it instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from modelramp.api import GROUP, KIND, VERSION, Problem, read_spec
from modelramp.api.crd import NAME_LIMIT, root

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LIKE_A_VERSION = re.compile(r".*-v[0-9]+")


@dataclass(frozen=True, slots=True)
class Result:
    """What one document, or one file without any, was found to be."""

    where: str
    good: bool
    message: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.where}: {self.message}"


def check(file: str, text: str) -> Iterator[Result]:
    """Yield a result for each ModelDeployment in a YAML text; one that is not good for a text without any."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as fault:
        yield Result(file, good=False, message=f"is no YAML: {_where(fault)}")
        return
    ours = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if not ours:
        yield Result(file, good=False, message=f"holds no {KIND}")
    for document in ours:
        yield _judge(file, document)


def _where(fault: yaml.YAMLError) -> str:
    mark, problem = getattr(fault, "problem_mark", None), getattr(fault, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def _judge(file: str, document: Mapping[str, Any]) -> Result:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    where = f"{file}: {name}" if isinstance(name, str) else file
    problem = (
        _head_problem(document, name)
        or unknown_field(document.get("spec"), _spec_schema(), "spec")
        or read_spec(document)
    )
    if isinstance(problem, Problem):
        return Result(where, good=False, message=str(problem))
    return Result(where, good=True, message=f"good: version {problem.version} of {problem.model_name}")


def _head_problem(document: Mapping[str, Any], name: object) -> Problem | None:
    version = document.get("apiVersion")
    if version != f"{GROUP}/{VERSION}":
        return Problem("apiVersion", "", f"{str(version)[:64]!r} is not served: write {GROUP}/{VERSION}")
    if not isinstance(name, str) or not name:
        return Problem("metadata.name", "", "write a name")
    if len(name) > NAME_LIMIT:
        return Problem(
            "metadata.name", name[:64], f"write at most {NAME_LIMIT} characters; Services are named after it"
        )
    if not _NAME.fullmatch(name):
        rule = "write lower case letters, digits and '-', a letter first; Services are named after it"
        return Problem("metadata.name", name, rule)
    if _LIKE_A_VERSION.fullmatch(name):
        return Problem("metadata.name", name, "ends like a version: NAME-v8 is the Service of version 8 of NAME")
    return None


def _spec_schema() -> Mapping[str, Any]:
    schema: Mapping[str, Any] = root()["properties"]["spec"]
    return schema


def unknown_field(value: object, schema: Mapping[str, Any], path: str) -> Problem | None:
    """Return the first field that the schema does not have; the API server's strict mode refuses those."""
    if isinstance(value, list):
        items = schema.get("items", {})
        return _first(unknown_field(item, items, f"{path}[{index}]") for index, item in enumerate(value))
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None:
        return None
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            offer = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            return Problem(f"{path}.{key}", "", f"is no field; {offer}")
    return _first(unknown_field(item, known[key], f"{path}.{key}") for key, item in value.items())


def _first(problems: Iterable[Problem | None]) -> Problem | None:
    return next((problem for problem in problems if problem), None)
