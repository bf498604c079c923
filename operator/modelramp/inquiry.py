"""Read one ModelDeployment with the user's own kubeconfig, for `explain`."""

from __future__ import annotations

import os
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.config.config_exception import ConfigException

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kinds import MODEL_DEPLOYMENT, Object
from modelramp.adapters.kubernetes import Answer, Cluster, Missing, Reply
from modelramp.api import read_spec, read_status
from modelramp.explain import Subject, explain
from modelramp.ports import Conflict, Ref
from modelramp.rollout.observation import Failed


class InquiryError(Exception):
    """Carries why there is nothing to explain."""


async def inquire(name: str, namespace: str | None, kubeconfig: Path | None) -> str:
    """Return the account of an object. Raises InquiryError where it cannot be read."""
    path = kubeconfig or usual_kubeconfig()
    if path is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise InquiryError("there is no kubeconfig: set KUBECONFIG, or give --kubeconfig FILE")
    try:
        where = namespace or _namespace(path)
        cluster = await Cluster.connect(path, deadline=10.0)
    except (ConfigException, OSError) as fault:
        raise InquiryError(f"the kubeconfig {path or 'of this pod'} cannot be used: {fault}") from None
    try:
        answer = await cluster.get(MODEL_DEPLOYMENT, where, name)
    finally:
        await cluster.close()
    ref = Ref(where, name)
    obj = _found(answer, ref)
    subject = Subject(ref, obj["metadata"]["generation"], read_spec(obj), read_status(obj))
    return explain(subject, SystemClock().now())


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


def _found(answer: Answer, ref: Ref) -> Object:
    match answer:
        case Reply(obj):
            return obj
        case Missing():
            raise InquiryError(f"there is no ModelDeployment {ref.name} in namespace {ref.namespace}")
        case Conflict(message) | Failed(_, message):
            raise InquiryError(f"the API server did not answer as hoped: {message}")
