"""Read one ModelDeployment with the user's own kubeconfig, and its story with the user's own MLflow credentials."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes.aio import config
from kubernetes.aio.config.config_exception import ConfigException
from yaml import YAMLError

from modelramp.account import Story, gather, runs, tell_history, tell_story, tell_why
from modelramp.account_json import history_json, story_json, why_json
from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kinds import MODEL_DEPLOYMENT, Object
from modelramp.adapters.kubernetes import Answer, Cluster, Missing, Reply
from modelramp.adapters.mlflow_story import MlflowStory, Origin
from modelramp.api import read_spec, read_status
from modelramp.api.problem import Problem
from modelramp.checklist import Case, judge, render
from modelramp.explain import Subject, explain
from modelramp.ports import Conflict, Ref
from modelramp.rollout.observation import Failed, Reading

_UNSET = Failed("RegistryUnset", "set MLFLOW_TRACKING_URI, or give --mlflow URI")


class InquiryError(Exception):
    """Carries why there is nothing to explain."""


async def inquire(name: str, namespace: str | None, kubeconfig: Path | None) -> str:
    """Return the account of an object. Raises InquiryError where it cannot be read."""
    subject, _ = await read(name, namespace, kubeconfig)
    return explain(subject, SystemClock().now())


async def read(name: str, namespace: str | None, kubeconfig: Path | None) -> tuple[Subject, Object]:
    """Return an object, parsed and as it is. Raises InquiryError where it cannot be read."""
    async with reach(namespace, kubeconfig) as (cluster, where):
        obj = found(await cluster.get(MODEL_DEPLOYMENT, where, name), Ref(where, name))
    return Subject(Ref(where, name), obj["metadata"]["generation"], read_spec(obj), read_status(obj)), obj


@asynccontextmanager
async def reach(namespace: str | None, kubeconfig: Path | None) -> AsyncIterator[tuple[Cluster, str]]:
    """Yield the user's cluster and namespace. Raises InquiryError where there is no way to it."""
    path = kubeconfig or usual_kubeconfig()
    if path is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise InquiryError("there is no kubeconfig: set KUBECONFIG, or give --kubeconfig FILE")
    if path and os.pathsep not in str(path) and not path.exists():
        raise InquiryError(f"there is no kubeconfig {path}: set KUBECONFIG, or give --kubeconfig FILE")
    try:
        where = namespace or _namespace(path)
        cluster = await Cluster.connect(path, deadline=10.0)
    except (ConfigException, OSError) as fault:
        raise InquiryError(f"the kubeconfig {path or 'of this pod'} cannot be used: {fault}") from None
    except YAMLError:  # its message may quote a token
        raise InquiryError(f"the kubeconfig {path} cannot be used: it is no YAML") from None
    try:
        yield cluster, where
    finally:
        await cluster.close()


class Registry:
    """MLflow as a command asks it; without an address every answer says so."""

    def __init__(self, uri: str | None) -> None:
        """Take the address. Raises InquiryError where it is none."""
        if uri and not _is_address(uri):
            raise InquiryError("MLFLOW_TRACKING_URI must be an http(s) address without credentials")
        self._story = MlflowStory(uri) if uri else None

    def story(self, subject: Subject, model: str) -> Story:
        """Return all records of an object."""
        known = runs(subject.status)
        return gather(subject, self._story.records(model, subject.ref, known) if self._story else _UNSET)

    def origin(self, model: str, version: str, run_id: str = "") -> Reading[Origin]:
        """Return where a version comes from."""
        return self._story.origin(model, version, run_id) if self._story else _UNSET


def _is_address(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return port_is_one and parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username


def model_of(subject: Subject, obj: Object) -> str:
    """Return the model's name, also where the rest of the spec cannot be used."""
    return (
        str((obj["spec"].get("model") or {}).get("name", ""))
        if isinstance(subject.spec, Problem)
        else subject.spec.model_name
    )


def usual_kubeconfig() -> Path | None:
    """Return where kubectl would look; None where there is none, as in a pod."""
    named = os.environ.get("KUBECONFIG")
    usual = Path.home() / ".kube" / "config"
    return Path(named) if named else usual if usual.exists() else None


def _namespace(kubeconfig: Path | None) -> str:
    if kubeconfig is None:
        return "default"
    _, active = config.list_kube_config_contexts(str(kubeconfig))  # type: ignore[no-untyped-call]
    return str((active or {}).get("context", {}).get("namespace") or "default")


def found(answer: Answer, ref: Ref) -> Object:
    """Return the object of an answer. Raises InquiryError where there is none."""
    match answer:
        case Reply(obj):
            return obj
        case Missing():
            raise InquiryError(f"there is no ModelDeployment {ref.name} in namespace {ref.namespace}")
        case Conflict(message) | Failed(_, message):
            raise InquiryError(f"the API server did not answer as hoped: {message}")


@dataclass(frozen=True, slots=True)
class Told:
    """What a command prints; `good` tells whether the answer is yes."""

    text: str
    good: bool = True


def inquire_story(chosen: argparse.Namespace) -> Told:
    """Return what `history`, `why`, `story` or `checklist` says. Raises InquiryError where it cannot be read."""
    subject, obj = asyncio.run(read(chosen.name, chosen.namespace, chosen.kubeconfig))
    registry, model = Registry(chosen.mlflow), model_of(subject, obj)
    story = registry.story(subject, model)
    is_json = chosen.output == "json"
    match chosen.about:
        case "history":
            return Told((history_json if is_json else tell_history)(story))
        case "why":
            return Told((why_json if is_json else tell_why)(story))
        case "story":
            known = {version: run_id for run_id, version in runs(subject.status).items()}
            origin = registry.origin(model, chosen.version, known.get(chosen.version, ""))
            return Told((story_json if is_json else tell_story)(story, chosen.version, origin))
        case _:
            return _checklist(chosen, story, registry, obj)


def _checklist(chosen: argparse.Namespace, story: Story, registry: Registry, obj: Object) -> Told:
    spec = story.subject.spec
    if isinstance(spec, Problem):
        raise InquiryError(f"the spec cannot be used: {spec}")
    annotations = dict(obj["metadata"].get("annotations") or {})
    lines = judge(Case(story, spec, annotations, registry.origin(spec.model_name, spec.version)))
    return Told(render(lines, chosen.output), all(line.mark != "✗" for line in lines))
