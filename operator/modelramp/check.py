"""Judge manifests without a cluster: what the API server would refuse, and how to write it instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import yaml

from modelramp.api import GROUP, KIND, VERSION, Problem, find_problems, read_spec
from modelramp.api.crd import MODEL_DEPLOYMENT, NAME_LIMIT, POLICY_NAME_LIMIT, PROMOTION_POLICY, Resource, root
from modelramp.api.promotion import read_policy
from modelramp.rollout.rulebook import PromotionPolicy
from modelramp.rollout.spec import Spec

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KINDS = (KIND, PROMOTION_POLICY.kind)
_LIKE_A_VERSION = re.compile(r".*-v[0-9]+")


@dataclass(frozen=True, slots=True)
class Result:
    """What one document, or one file without any, was found to be."""

    where: str
    good: bool
    message: str
    found: Spec | PromotionPolicy | None = None
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.where}: {self.message}"


def check(file: str, text: str) -> Iterator[Result]:
    """Yield a result for each of our objects in a YAML text; one that is not good for a text without any."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as fault:
        yield Result(file, good=False, message=f"is no YAML: {_where(fault)}")
        return
    ours = [document for document in documents if isinstance(document, dict) and document.get("kind") in KINDS]
    if not ours:
        yield Result(file, good=False, message=f"holds no {KIND} and no {PROMOTION_POLICY.kind}")
    for document in ours:
        yield from _judge(file, document)


def _where(fault: yaml.YAMLError) -> str:
    mark, problem = getattr(fault, "problem_mark", None), getattr(fault, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem


def _judge(file: str, document: Mapping[str, Any]) -> Iterator[Result]:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    where = f"{file}: {name}" if isinstance(name, str) else file
    faults = _policy_faults if document["kind"] == PROMOTION_POLICY.kind else _spec_faults
    found = list(faults(document, name))
    yield from (Result(where, good=False, message=str(problem)) for problem in found)
    if not found:
        yield _good(where, document)


def _good(where: str, document: Mapping[str, Any]) -> Result:
    """Return what is said of a document without faults."""
    found = read_policy(document) if document["kind"] == PROMOTION_POLICY.kind else read_spec(document)
    match found:
        case PromotionPolicy():
            return Result(where, good=True, message=f"good: policy {found.name}", found=found)
        case Spec():
            message = f"good: version {found.version} of {found.model_name}"
            namespace, labels = document["metadata"].get("namespace") or "", document["metadata"].get("labels") or {}
            return Result(where, good=True, message=message, found=found, namespace=namespace, labels=labels)
        case Problem():
            return Result(where, good=False, message=str(found))
        case other:
            assert_never(other)


def _spec_faults(document: Mapping[str, Any], name: object) -> Iterator[Problem]:
    yield from filter(None, (_served_problem(document), _name_problem(name)))
    yield from unknown_fields(document.get("spec"), _spec_schema(MODEL_DEPLOYMENT), "spec")
    yield from find_problems(document)


def _policy_faults(document: Mapping[str, Any], name: object) -> Iterator[Problem]:
    head = [problem for problem in (_served_problem(document), _policy_name_problem(name)) if problem]
    yield from head
    yield from unknown_fields(document.get("spec"), _spec_schema(PROMOTION_POLICY), "spec")
    if not head and isinstance(read := read_policy(document), Problem):
        yield read


def _served_problem(document: Mapping[str, Any]) -> Problem | None:
    version = document.get("apiVersion")
    if version != f"{GROUP}/{VERSION}":
        return Problem("apiVersion", "", f"{str(version)[:64]!r} is not served: write {GROUP}/{VERSION}")
    return None


def _policy_name_problem(name: object) -> Problem | None:
    if not isinstance(name, str) or not name:
        return Problem("metadata.name", "", "write a name")
    if len(name) > POLICY_NAME_LIMIT or not _LABEL.fullmatch(name):
        rule = f"write at most {POLICY_NAME_LIMIT} lower case letters, digits and '-'; guardrails are named after it"
        return Problem("metadata.name", name[:64], rule)
    return None


def _name_problem(name: object) -> Problem | None:
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


def _spec_schema(resource: Resource) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = root(resource)["properties"]["spec"]
    return schema


def unknown_fields(value: object, schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Yield every field that the schema does not have; the API server's strict mode refuses those."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items", {}), f"{path}[{index}]")
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None:
        return
    for key, item in value.items():
        if key in known:
            yield from unknown_fields(item, known[key], f"{path}.{key}")
        else:
            near = difflib.get_close_matches(str(key), known, n=1)
            offer = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            yield Problem(f"{path}.{key}", "", f"is no field; {offer}")
