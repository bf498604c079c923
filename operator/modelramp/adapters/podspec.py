"""Render the pods of one version: pure, the same input gives the same text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from modelramp.adapters.kinds import MODEL, NAME, VERSION, labels
from modelramp.adapters.peers import capture_variables
from modelramp.pods.security import CONTAINER_SECURITY, POD_SECURITY
from modelramp.pods.strategic import merge
from modelramp.pods.template import (
    FETCH,
    KEPT_DIR,
    KEPT_VOLUME,
    MODEL_DIR,
    MODEL_VOLUME,
    POLICY_DIR,
    POLICY_VOLUME,
    SERVER,
)
from modelramp.ports import Ref, Rollout
from modelramp.rollout.queries import service
from modelramp.rollout.runtime import CUSTOM, MLFLOW, Runtime
from modelramp.rollout.spec import ConfigMapTraffic, IstioTraffic, Serving
from modelramp.rollout.status import Phase, Pin

TEMPORARY = "/tmp"  # noqa: S108 (an emptyDir of the container's own)
_USUAL, _OF_NO_POD = Serving(), ("replicas", "keep_warm", "autoscaling")
DEVICELESS = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What the operator's own configuration says about every model pod; times in seconds.

    `drain` is how long a pod goes on serving after it was told to stop, longer than the router keeps a connection.
    """

    runtime_image: str
    tracking_uri: str
    pull_policy: str = "IfNotPresent"
    drain: int = 5
    longest_request: int = 30
    longest_start: int = 600


@dataclass(frozen=True, slots=True)
class Served:
    """All that a version's objects depend on; `held` says that it must not be scaled down now."""

    ref: Ref
    uid: str
    model_name: str
    serving: Serving
    pin: Pin
    policy: str = ""
    """ConfigMap of the business rules."""
    held: bool = False
    marks_copies: bool = True
    """Whether a copy of a request says that it is one, as those of our own router do."""
    connections: dict[str, Any] = field(default_factory=dict, hash=False)
    """Istio's trafficPolicy for it; empty where there is to be none."""

    @property
    def name(self) -> str:
        """Return what the Deployment and the Service are called."""
        return workload_name(self.ref.name, self.pin.version)

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels of all that this version owns."""
        return labels(self.ref.name, MODEL, self.pin.version)

    @property
    def selector(self) -> dict[str, str]:
        """Return the labels that name its pods."""
        return {NAME: self.ref.name, VERSION: self.pin.version}

    def wishes(self, settings: PodSettings) -> dict[str, Any]:
        """Return what its pods are asked to be, whatever an operator makes of it.

        A field at its default is no part, so that a new field is no new wish. The registry's address is: a pod that
        starts again has to reach it.
        """
        asked = ((each.name, getattr(self.serving, each.name)) for each in fields(Serving))
        changed = {name: value for name, value in asked if value != getattr(_USUAL, name) and name not in _OF_NO_POD}
        if "runtime" in changed:
            changed["runtime"] = _wish(self.serving.runtime)
        if self.serving.capture:
            changed["capture"] = [*asdict(self.serving.capture).values(), self.marks_copies]
        rules = {"policy": self.policy} if self.policy else {}
        given = {"model": self.model_name, "registry": settings.tracking_uri, "serving": changed}
        return given | rules | asdict(self.pin)


def _wish(runtime: Runtime) -> str:
    """Return what a user asks for with a runtime: a description of the operator's is like its code."""
    return repr(runtime) if runtime.name == CUSTOM else runtime.name


def served(rollout: Rollout, pin: Pin) -> Served:
    """Return what the pods of a version depend on."""
    spec, status, policy = rollout.spec, rollout.status, rollout.spec.policy
    held = status.phase is Phase.RAMPING and status.stable is not None and status.stable.version == pin.version
    rules = policy.config_map if policy else ""
    connections = spec.traffic.connections if isinstance(spec.traffic, IstioTraffic) else {}
    marks = isinstance(spec.traffic, ConfigMapTraffic)
    return Served(rollout.ref, rollout.uid, spec.model_name, spec.serving, pin, rules, held, marks, connections)


def kept_name(name: str) -> str:
    """Return what the ConfigMap of the last rules in force is called."""
    return f"{name}-policy-kept"


def workload_name(name: str, version: str) -> str:
    """Return what a version's Deployment and Service are called."""
    return service(name, version)


def pod_template(version: Served, settings: PodSettings) -> dict[str, Any]:
    """Return the pods' template, with what the user's own adds to it."""
    metadata = {"labels": version.labels, "annotations": _scraped(version.serving.runtime)}
    return merge({"metadata": metadata, "spec": _pod(version, settings)}, version.serving.pod_template)


def _scraped(runtime: Runtime) -> dict[str, str]:
    if runtime.metrics is None:
        return {}
    port, path = str(runtime.metrics.port), runtime.metrics.path
    return {"prometheus.io/scrape": "true", "prometheus.io/port": port, "prometheus.io/path": path}


def _pod(version: Served, settings: PodSettings) -> dict[str, Any]:
    return {
        **placed(version),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.drain + settings.longest_request + 10,
        "securityContext": dict(POD_SECURITY),
        "topologySpreadConstraints": [
            _spread(version, key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "initContainers": [fetch_container(version, settings)],
        "containers": [_server(version, settings)],
        # A temporary folder each: what the registry's client leaves behind is not the model server's to read.
        "volumes": [{"name": name, "emptyDir": {}} for name in (MODEL_VOLUME, "tmp", "fetch-tmp")] + _rules(version),
    }


def _rules(version: Served) -> list[dict[str, Any]]:
    """Return the volumes of the business rules: the user's, and the last that were in force.

    Without either ConfigMap a pod starts, and says why it is not ready.
    """
    names = {POLICY_VOLUME: version.policy, KEPT_VOLUME: kept_name(version.ref.name)}
    found = [{"name": volume, "configMap": {"name": name, "optional": True}} for volume, name in names.items()]
    return found if version.policy else []


def placed(version: Served) -> dict[str, Any]:
    """Return who the pods are and where they go, as far as the user says so."""
    serving = version.serving
    said = {
        "serviceAccountName": serving.service_account,
        "nodeSelector": serving.node_selector,
        "tolerations": list(serving.tolerations),
        "affinity": serving.affinity,
        "imagePullSecrets": [{"name": name} for name in serving.image_pull_secrets],
    }
    return {field: value for field, value in said.items() if value}


def _spread(version: Served, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": version.selector},
    }


def fetch_container(version: Served, settings: PodSettings) -> dict[str, Any]:
    """Return the init container, the only one that gets the registry's credentials."""
    secret = version.serving.registry_secret
    said = {
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MODEL_SOURCE": version.pin.source,
        "MODEL_DIGEST": version.pin.digest,
        "MODEL_DIR": MODEL_DIR,
        "HOME": TEMPORARY,
    }
    return {
        "name": FETCH,
        "image": settings.runtime_image,
        "command": ["python", "-m", "modelramp_runtime.fetch"],
        "env": _env(said),
        **({"envFrom": [{"secretRef": {"name": secret}}]} if secret else {}),
        "volumeMounts": _mounts("fetch-tmp", read_only=False),
        **contained(settings, _without_devices(version.serving.resources)),
    }


def _server(version: Served, settings: PodSettings) -> dict[str, Any]:
    serving, runtime = version.serving, version.serving.runtime
    return {
        "name": SERVER,
        "image": serving.image or runtime.image or settings.runtime_image,
        **_started(serving),
        "env": _server_env(version),
        "ports": _ports(runtime),
        "startupProbe": _probe(runtime.live, period=1, failures=settings.longest_start),
        "readinessProbe": _probe(runtime.ready, period=1, failures=3),
        "livenessProbe": _probe(runtime.live, period=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": settings.drain}}},
        "volumeMounts": _mounts("tmp", read_only=True) + _rules_mount(version),
        **contained(settings, serving.resources, runtime.user),
    }


def _started(serving: Serving) -> dict[str, Any]:
    """Return the command line; another image of the built-in server knows its own."""
    if serving.image and serving.runtime == MLFLOW:
        return {}
    said = {"command": list(serving.runtime.command), "args": list(serving.runtime.args)}
    return {field: words for field, words in said.items() if words}


def _server_env(version: Served) -> list[dict[str, Any]]:
    """Return the variables, ours first: those after them may refer to them."""
    port, capture = version.serving.runtime.port, version.serving.capture
    ours = {
        "MODEL_NAME": version.model_name,
        "MODEL_VERSION": version.pin.version,
        "MODEL_RUN_ID": version.pin.run_id,
        "MODEL_DIR": MODEL_DIR,
        "PORT": str(port),
        **({"POLICY_DIR": POLICY_DIR, "POLICY_KEPT_DIR": KEPT_DIR} if version.policy else {}),
        **(capture_variables(version.ref, capture, port, marks_copies=version.marks_copies) if capture else {}),
    }
    users = {each["name"]: dict(each) for each in (*version.serving.runtime.env, *version.serving.env)}
    home = {} if "HOME" in users else {"HOME": TEMPORARY}
    return _env(ours | home) + [each for name, each in users.items() if name not in ours]


def _ports(runtime: Runtime) -> list[dict[str, Any]]:
    found = {"http": runtime.port}
    if runtime.metrics and runtime.metrics.port != runtime.port:
        found["metrics"] = runtime.metrics.port
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in found.items()]


def contained(settings: PodSettings, resources: dict[str, Any], user: int | None = None) -> dict[str, Any]:
    """Return what all containers share: the limits of `restricted` pod security, and resources."""
    return {
        "imagePullPolicy": settings.pull_policy,
        **({"resources": resources} if resources else {}),
        "securityContext": CONTAINER_SECURITY | ({"runAsUser": user} if user else {}),
    }


def _without_devices(resources: dict[str, Any]) -> dict[str, Any]:
    """Return what the container that only copies files needs of them."""
    kept = {
        side: {name: amount for name, amount in amounts.items() if name in DEVICELESS}
        for side, amounts in resources.items()
    }
    return {side: amounts for side, amounts in kept.items() if amounts}


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    asked = {"path": path, "port": "http"}
    return {"httpGet": asked, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}


def _mounts(temporary: str, *, read_only: bool) -> list[dict[str, Any]]:
    model = {"name": MODEL_VOLUME, "mountPath": MODEL_DIR}
    return [model | ({"readOnly": True} if read_only else {}), {"name": temporary, "mountPath": TEMPORARY}]


def _rules_mount(version: Served) -> list[dict[str, Any]]:
    # Whole, never by subPath: only then the kubelet brings an edit into the running pod.
    places = {POLICY_VOLUME: POLICY_DIR, KEPT_VOLUME: KEPT_DIR}
    found: list[dict[str, Any]] = [
        {"name": volume, "mountPath": place, "readOnly": True} for volume, place in places.items()
    ]
    return found if version.policy else []


def _env(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]
