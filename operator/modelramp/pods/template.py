"""What a user's pod template may change of a model's pods, and what the rollout rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelramp.pods.security import CONTAINER_SECURITY, POD_SECURITY, weaknesses
from modelramp.pods.strategic import PATCH, Fault, faults, merge, replaces

SERVER, FETCH = "server", "fetch"
MODEL_VOLUME, MODEL_DIR = "model", "/mnt/model"
POLICY_VOLUME, POLICY_DIR = "policy", "/mnt/policy"
KEPT_VOLUME, KEPT_DIR = "policy-kept", "/mnt/policy-kept"
OUR_PLACES = (MODEL_DIR, POLICY_DIR, KEPT_DIR)
OUR_LABELS = ("app.kubernetes.io/managed-by", "modelramp.dev/name", "modelramp.dev/component", "modelramp.dev/version")
OUR_VARIABLES = (
    "MODEL_DIGEST",
    "MODEL_DIR",
    "MODEL_NAME",
    "MODEL_RUN_ID",
    "MODEL_SOURCE",
    "MODEL_VERSION",
    "MODELRAMP_CAPTURE_ASKS",
    "MODELRAMP_CAPTURE_PEERS",
    "MODELRAMP_CAPTURE_PERCENT",
    "MODELRAMP_CAPTURE_TOLERANCE",
    "POLICY_DIR",
    "POLICY_KEPT_DIR",
    "PORT",
)
_ELSEWHERE = {
    "image": "is set by spec.serving.image",
    "command": "is the runtime's: see spec.serving.runtime and spec.serving.custom",
    "args": "is the runtime's: see spec.serving.runtime and spec.serving.custom",
    "ports": "is the runtime's: see spec.serving.custom.port",
}
_FETCHES = dict.fromkeys(("image", "command", "args"), "is the operator's: it checks the model's digest")
_OF_THE_POD = {
    "serviceAccountName": "is set by spec.serving.serviceAccountName",
    "serviceAccount": "is set by spec.serving.serviceAccountName",
    "restartPolicy": "is Always for a Deployment",
}


def template_faults(template: Mapping[str, Any], *, restricted: bool) -> Iterator[Fault]:
    """Yield what a template may not ask for, by its path below the template.

    `restricted` says that the pods must stay within the Pod Security Standard of that name.
    """
    malformed = [*_shape_faults(template), *faults(template)]
    yield from malformed
    if malformed:
        return
    yield from _metadata_faults(template.get("metadata") or {})
    yield from _spec_faults(template.get("spec") or {})
    if restricted:
        merged = merge(_skeleton(), template).get("spec", {})
        for path, message in weaknesses(merged, frozenset({SERVER, FETCH})):
            yield f".spec{path}", f"{message}; spec.serving.podSecurity: Relaxed allows it"


def _shape_faults(template: Mapping[str, Any]) -> Iterator[Fault]:
    for field, value in template.items():
        if field not in ("metadata", "spec"):
            yield f".{field}", "is no field of a pod template; there are metadata and spec"
        elif not isinstance(value, dict):
            yield f".{field}", "must be a map"


def _metadata_faults(metadata: Mapping[str, Any]) -> Iterator[Fault]:
    for field, values in metadata.items():
        if field not in ("labels", "annotations"):
            yield f".metadata.{field}", "cannot be set; there are labels and annotations"
        elif not isinstance(values, dict) or any(not isinstance(value, str | None) for value in values.values()):
            yield f".metadata.{field}", "must be a map of text to text"
        else:
            yield from _reserved(field, values)


def _reserved(field: str, values: Mapping[str, Any]) -> Iterator[Fault]:
    for key in values:
        if key in OUR_LABELS or key.startswith("modelramp.dev/"):
            yield f".metadata.{field}[{key}]", "is the operator's: choose another name"


def _spec_faults(spec: Mapping[str, Any]) -> Iterator[Fault]:
    if PATCH in spec:
        yield f".spec.{PATCH}", "would remove the operator's own containers"
    for field, says in _OF_THE_POD.items():
        if field in spec:
            yield f".spec.{field}", says
    yield from _list_faults(spec, "containers", {SERVER: _ELSEWHERE})
    yield from _list_faults(spec, "initContainers", {FETCH: _FETCHES})
    yield from _list_faults(spec, "volumes", {MODEL_VOLUME: {}, POLICY_VOLUME: {}, KEPT_VOLUME: {}})


def _list_faults(spec: Mapping[str, Any], field: str, kept: Mapping[str, Mapping[str, str]]) -> Iterator[Fault]:
    """Yield what a list does to the items of ours, `kept`: each with its fields that are set elsewhere."""
    items = spec.get(field, [])
    if not isinstance(items, list) or replaces(items):
        yield f".spec.{field}", f"must be a list that keeps {', '.join(kept)}, which the operator needs"
        return
    for index, item in enumerate(items):
        if item["name"] in kept:
            yield from _item_faults(item, f".spec.{field}[{index}]", kept[item["name"]])


def _item_faults(item: Mapping[str, Any], at: str, elsewhere: Mapping[str, str]) -> Iterator[Fault]:
    if PATCH in item:
        yield f"{at}.{PATCH}", f"would remove {item['name']}, which the operator needs"
    for field, says in elsewhere.items():
        if field in item:
            yield f"{at}.{field}", says
    for field, key, taken in (("env", "name", OUR_VARIABLES), ("volumeMounts", "mountPath", OUR_PLACES)):
        entries = item.get(field, [])
        if not isinstance(entries, list) or replaces(entries):
            yield f"{at}.{field}", "must be a list that keeps what the operator sets"
            continue
        for place, entry in enumerate(entries):
            if entry[key] in taken:
                yield f"{at}.{field}[{place}].{key}", f"{entry[key]} is set by the operator: choose another"


def _skeleton() -> dict[str, Any]:
    """Return the part of a model's pods that security is judged by."""
    return {
        "spec": {
            "securityContext": dict(POD_SECURITY),
            "initContainers": [{"name": FETCH, "securityContext": dict(CONTAINER_SECURITY)}],
            "containers": [{"name": SERVER, "securityContext": dict(CONTAINER_SECURITY)}],
        }
    }
