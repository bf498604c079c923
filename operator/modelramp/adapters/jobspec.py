"""Render the Job of one rehearsal: pure, the same input gives the same text."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from modelramp.adapters.kinds import ATTEMPT, JOB, STAGING, Object, labels, owner_reference
from modelramp.adapters.podspec import (
    TEMPORARY,
    PodSettings,
    Served,
    contained,
    fetch_container,
    placed,
    served,
    workload_name,
)
from modelramp.pods.security import POD_SECURITY
from modelramp.pods.template import MODEL_DIR
from modelramp.ports import Ref, Rollout
from modelramp.rollout.actions import RunRehearsal
from modelramp.rollout.gates.spec import Dataset
from modelramp.rollout.status import Pin

REHEARSAL = "rehearsal"
CANDIDATE, FALLBACK, DATASET = "candidate", "fallback", "dataset"
RETRIES = 3
"""For pods that end without a result; a bad result is one, and is not tried again."""
TO_TELL = timedelta(minutes=1)
"""What of the deadline is left for pods to come, half of it at most."""
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


def job_name(name: str, attempt: str) -> str:
    """Return what an attempt's Job is called: at most 63 characters, for its pods carry it as a label."""
    return f"{name}-stage-{attempt}"


def render_rehearsal(rollout: Rollout, wanted: RunRehearsal, settings: PodSettings) -> Object:
    """Return the Job that replays requests, once."""
    ref = rollout.ref
    # Without the version's label: the Service of the version would lead to this pod too.
    marks = labels(ref.name, STAGING) | {ATTEMPT: wanted.attempt}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "name": job_name(ref.name, wanted.attempt),
            "namespace": ref.namespace,
            "labels": marks,
            "ownerReferences": [owner_reference(ref.name, rollout.uid)],
        },
        "spec": {
            "backoffLimit": RETRIES,
            "activeDeadlineSeconds": math.ceil(wanted.deadline.total_seconds()),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [_ignore_disruptions()]},
            "template": {"metadata": {"labels": marks}, "spec": _pod(rollout, wanted, settings)},
        },
    }


def _ignore_disruptions() -> dict[str, Any]:
    """Return the rule by which a pod that was evicted is replaced, and counts for nothing."""
    return {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _pod(rollout: Rollout, wanted: RunRehearsal, settings: PodSettings) -> dict[str, Any]:
    models, dataset = _models(wanted), wanted.gate.dataset if wanted.gate else None
    fetches = [_fetch(served(rollout, pin), settings, volume) for volume, pin in models.items()]
    sources = [{"name": volume, "emptyDir": {}} for volume in (*models, "tmp")]
    return {
        **placed(served(rollout, wanted.candidate)),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": dict(POD_SECURITY),
        **({"initContainers": fetches} if fetches else {}),
        "containers": [_rehearsal(rollout, wanted, settings)],
        "volumes": [*sources, *([_source(dataset)] if dataset else [])],
    }


def _models(wanted: RunRehearsal) -> dict[str, Pin]:
    """Return whose files are fetched, for the input example among them, and into which volume."""
    own = {CANDIDATE: wanted.candidate} if wanted.gate and wanted.gate.dataset is None else {}
    return own | ({FALLBACK: wanted.fallback} if wanted.fallback else {})


def _source(dataset: Dataset) -> dict[str, Any]:
    """Return the dataset's volume; without the ConfigMap or its key the container starts, and says so."""
    item = {"key": dataset.key, "path": dataset.key}
    return {"name": DATASET, "configMap": {"name": dataset.config_map, "items": [item], "optional": True}}


def _fetch(version: Served, settings: PodSettings, volume: str) -> dict[str, Any]:
    """Return the init container of the version's own pods, which checks the digest, on this volume."""
    mounts = [{"name": volume, "mountPath": MODEL_DIR}, {"name": "tmp", "mountPath": TEMPORARY}]
    container = fetch_container(version, settings)
    return {**container, "name": f"{container['name']}-{volume}", "volumeMounts": mounts, "resources": RESOURCES}


def _rehearsal(rollout: Rollout, wanted: RunRehearsal, settings: PodSettings) -> dict[str, Any]:
    said = _script(rollout.ref, wanted)
    mounted = [*_models(wanted), *([DATASET] if wanted.gate and wanted.gate.dataset else [])]
    mounts = [{"name": volume, "mountPath": f"/mnt/{volume}", "readOnly": True} for volume in mounted]
    return {
        "name": REHEARSAL,
        "image": settings.runtime_image,
        "command": ["python", "-m", "modelramp_runtime.rehearsal"],
        "env": [{"name": name, "value": value} for name, value in said.items()],
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": TEMPORARY}],
        **contained(settings, RESOURCES),
    }


def _script(ref: Ref, wanted: RunRehearsal) -> dict[str, str]:
    gate, fallback = wanted.gate, wanted.fallback
    patience = max(wanted.deadline / 2, wanted.deadline - TO_TELL)
    said = {"REHEARSAL_DEADLINE_SECONDS": f"{patience.total_seconds():g}", "HOME": TEMPORARY}
    if gate:
        payloads = f"/mnt/{DATASET}/{gate.dataset.key}" if gate.dataset else f"/mnt/{CANDIDATE}"
        said |= {"CANDIDATE_URL": _url(ref, wanted.candidate), "CANDIDATE_PAYLOADS": payloads}
        said |= {"REHEARSAL_REQUESTS": str(gate.requests), "REHEARSAL_CONCURRENCY": str(gate.concurrency)}
    if fallback:
        said |= {"FALLBACK_URL": _url(ref, fallback), "FALLBACK_PAYLOADS": f"/mnt/{FALLBACK}"}
    return said


def _url(ref: Ref, pin: Pin) -> str:
    return f"http://{workload_name(ref.name, pin.version)}.{ref.namespace}.svc"
