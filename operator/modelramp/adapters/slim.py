"""The part of an object that is ever read: of a thousand ModelDeployments' pods and Deployments, a quarter."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelramp.adapters.authors import MANAGERS, spec_managers
from modelramp.adapters.kinds import (
    ASKED,
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DESTINATION_RULE,
    DISRUPTION_BUDGET,
    FIELD_MANAGER,
    JOB,
    KINDS,
    MODEL_DEPLOYMENT,
    POD,
    POLICY_TOLD,
    REST,
    ROUTE_KINDS,
    SERVICE,
    TEMPLATE,
    Kind,
    Object,
)
from modelramp.adapters.templates import is_intact, marks

_PACKED, _INTACT, _HOLDS = "packedSpec", "intact", "holdsReplicas"
_METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "labels", "deletionTimestamp")
_DEPLOYMENT_STATUS = ("observedGeneration", "updatedReplicas", "readyReplicas", "conditions")
_POD_STATUS = ("phase", "podIP", "conditions", "containerStatuses", "initContainerStatuses")
_CONTAINER_STATUS = ("name", "ready", "state", "lastState")
QUIET = (SERVICE, DISRUPTION_BUDGET, AUTOSCALER, DESTINATION_RULE)
"""Kinds whose status is nobody's business: an autoscaler's changes every fifteen seconds."""


def slim(kind: Kind, obj: Object) -> Object:
    """Return what the store keeps of an object; of what is slim already, all."""
    if _PACKED in obj:
        return obj
    if kind in (CONFIG_MAP, *ROUTE_KINDS) or kind.name not in KINDS:  # their managedFields say who wrote a weight
        return obj
    if slimming := _SLIMMINGS.get(kind):
        return slimming(obj)
    if kind in QUIET:
        return {"metadata": _metadata(obj), _PACKED: _packed(obj.get("spec") or {})}
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if kind == MODEL_DEPLOYMENT and "managedFields" in obj["metadata"]:
        metadata[MANAGERS] = spec_managers(obj["metadata"]["managedFields"])
    return {**obj, "metadata": metadata}


def is_news(kind: Kind, known: Object, slimmed: Object) -> bool:
    """Tell whether anybody has to look at an object again."""
    if kind not in QUIET:
        return True
    (was, now) = ({**each["metadata"], "resourceVersion": ""} for each in (known, slimmed))
    return (was, known[_PACKED]) != (now, slimmed[_PACKED])


def full_spec(obj: Object) -> Any:
    """Return the spec of an object from the store as the API server gave it; a Deployment's without the template."""
    return json.loads(zlib.decompress(obj[_PACKED]))


def is_intact_here(deployment: Object) -> bool:
    """Tell of a Deployment from the store whether its pods are made as it was applied last."""
    return bool(deployment[_INTACT])


def holds_replicas(deployment: Object) -> bool:
    """Tell of a Deployment from the store whether applying it without replicas would set them to one."""
    return bool(deployment[_HOLDS])


def _slim_deployment(obj: Object) -> Object:
    rest = {key: value for key, value in obj["spec"].items() if key != "template"}
    return {
        "metadata": _metadata(obj),
        "spec": _chosen(obj["spec"], ("replicas",)),
        "status": _chosen(obj.get("status") or {}, _DEPLOYMENT_STATUS),
        _PACKED: _packed(rest),
        _INTACT: is_intact(obj),
        _HOLDS: any(_applies_replicas(entry) for entry in obj["metadata"].get("managedFields") or ()),
    }


def _applies_replicas(entry: Object) -> bool:
    ours = (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, "Apply")
    return ours and "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})


def _slim_pod(obj: Object) -> Object:
    status = _chosen(obj.get("status") or {}, _POD_STATUS)
    for key in ("containerStatuses", "initContainerStatuses"):
        if key in status:
            status[key] = [_chosen(each, _CONTAINER_STATUS) for each in status[key] or ()]
    told = _chosen(obj["metadata"].get("annotations") or {}, (POLICY_TOLD,))
    return {
        "metadata": _chosen(obj["metadata"], _METADATA) | ({"annotations": told} if told else {}),
        "spec": {"containers": [_chosen(each, ("name", "ports")) for each in obj["spec"]["containers"]]},
        "status": status,
    }


def _metadata(obj: Object) -> dict[str, Any]:
    owners = [{"uid": each["uid"]} for each in obj["metadata"].get("ownerReferences") or ()]
    kept = {"annotations": _chosen(marks(obj), (TEMPLATE, ASKED, REST)), "ownerReferences": owners}
    return {**_chosen(obj["metadata"], _METADATA), **{field: value for field, value in kept.items() if value}}


def _packed(spec: Object) -> bytes:
    return zlib.compress(json.dumps(spec, sort_keys=True).encode(), 1)


def _chosen(source: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: source[key] for key in keys if key in source}


def _slim_job(obj: Object) -> Object:
    return {"metadata": _metadata(obj), "status": _chosen(obj.get("status") or {}, ("conditions",))}


_SLIMMINGS: Mapping[Kind, Callable[[Object], Object]] = {
    POD: _slim_pod,
    DEPLOYMENT: _slim_deployment,
    JOB: _slim_job,
}
