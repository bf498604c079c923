"""Render the Kubernetes objects of one router: Envoy, the follower beside it, and what they may do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelramp.router.bootstrap import BootstrapSettings, render_bootstrap

Manifest = dict[str, Any]
DIRECTORY = "/etc/modelramp"
HTTP_PORT, STATS_PORT, ADMIN_PORT = 8080, 9901, 9900
API_VERSIONS = {
    "ServiceAccount": "v1",
    "Service": "v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "Deployment": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
}


@dataclass(frozen=True)
class Resources:
    """Hold requests and the memory limit of one container. No CPU limit: throttling is latency."""

    cpu: str
    memory: str
    memory_limit: str

    def manifest(self) -> Manifest:
        """Return it as Kubernetes writes it."""
        return {"requests": {"cpu": self.cpu, "memory": self.memory}, "limits": {"memory": self.memory_limit}}


@dataclass(frozen=True)
class RouterSettings:
    """Say which images run, how many pods, and how they end; seconds and bytes.

    `envoy_heap` must be below Envoy's memory limit: it sheds load there. `drain_settle` is how long a pod
    that is going away still answers new requests, `drain_deadline` how long it waits for those that run.
    """

    operator_image: str = "modelramp/operator:latest"
    envoy_image: str = "envoyproxy/envoy:v1.40.0"
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    replicas: int = 2
    envoy_command: tuple[str, ...] = ("envoy",)
    follower_command: tuple[str, ...] = ("python", "-m", "modelramp.router")
    user: int = 65532
    concurrency: int = 2
    access_log: bool = False
    drain_settle: int = 5
    drain_deadline: int = 40
    envoy_heap: int = 400 * 1024 * 1024
    envoy_resources: Resources = field(default_factory=lambda: Resources("100m", "128Mi", "512Mi"))
    follower_resources: Resources = field(default_factory=lambda: Resources("10m", "48Mi", "96Mi"))
    extra_labels: Mapping[str, str] = field(default_factory=dict)


def router_name(name: str) -> str:
    """Return the name of the router's Deployment, ServiceAccount, Role and RoleBinding."""
    return f"{name}-router"


def config_map_name(name: str) -> str:
    """Return the name of the ConfigMap that the router follows."""
    return f"{name}-traffic"


def render_router(namespace: str, name: str, settings: RouterSettings) -> list[Manifest]:
    """Return the router's objects without owner references, in the order in which to apply them."""
    objects = [
        service_account(namespace, name, settings),
        role(namespace, name, settings),
        role_binding(namespace, name, settings),
        deployment(namespace, name, settings),
        service(namespace, name, settings),
    ]
    return [*objects, disruption_budget(namespace, name, settings)] if settings.replicas > 1 else objects


def labels(name: str, settings: RouterSettings) -> dict[str, str]:
    """Return the labels of everything that belongs to a router."""
    return {**settings.extra_labels, "app.kubernetes.io/managed-by": "modelramp", **selector(name)}


def selector(name: str) -> dict[str, str]:
    """Return the labels that select a router's pods and nobody else's."""
    return {"modelramp.dev/name": name, "modelramp.dev/component": "router"}


def manifest(kind: str, namespace: str, name: str, labelled: Mapping[str, str]) -> Manifest:
    """Return the head of an object."""
    metadata = {"name": name, "namespace": namespace, "labels": dict(labelled)}
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata}


def service_account(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return who the follower is."""
    return manifest("ServiceAccount", namespace, router_name(name), labels(name, settings))


def role(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return what the follower may do: read one ConfigMap."""
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [config_map_name(name)],
        "verbs": ["get", "list", "watch"],
    }
    head = manifest("Role", namespace, router_name(name), labels(name, settings))
    return head | {"rules": [rule]}


def role_binding(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return the binding of the role to the account."""
    router = router_name(name)
    head = manifest("RoleBinding", namespace, router, labels(name, settings))
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": router}
    subject = {"kind": "ServiceAccount", "name": router, "namespace": namespace}
    return head | {"roleRef": reference, "subjects": [subject]}


def service(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return the address at which the model is called: port 80 of a Service with the model's name."""
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    head = manifest("Service", namespace, name, labels(name, settings))
    return head | {"spec": {"type": "ClusterIP", "selector": selector(name), "ports": [port]}}


def disruption_budget(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return the promise that a node's drain takes one router pod at a time."""
    head = manifest("PodDisruptionBudget", namespace, router_name(name), labels(name, settings))
    return head | {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(name)}}}


def deployment(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return the router's pods; a roll-out never has fewer of them ready than asked for."""
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(STATS_PORT),
        "prometheus.io/path": "/stats/prometheus",
        "kubectl.kubernetes.io/default-container": "envoy",
    }
    template = {
        "metadata": {"labels": labels(name, settings), "annotations": annotations},
        "spec": pod_spec(namespace, name, settings),
    }
    head = manifest("Deployment", namespace, router_name(name), labels(name, settings))
    return head | {
        "spec": {
            "replicas": settings.replicas,
            "selector": {"matchLabels": selector(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template,
        }
    }


def pod_spec(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return the pod: first files by the init container, then Envoy and the follower."""
    follower = follower_command(namespace, name, settings)
    said = {
        "imagePullSecrets": [{"name": secret} for secret in settings.image_pull_secrets],
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [dict(each) for each in settings.tolerations],
    }
    return {field: value for field, value in said.items() if value} | {
        "serviceAccountName": router_name(name),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.user,
            "fsGroup": settings.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # The Services' names have four dots: without this each look-up tries the search domains first.
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": end_within(settings) + 5,
        "topologySpreadConstraints": [
            spread(name, key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "initContainers": [operator_container("first-files", [*follower, "--once"], settings)],
        "containers": [
            envoy_container(namespace, name, settings),
            operator_container("follower", follower, settings) | {"lifecycle": drain_hook(settings)},
        ],
        "volumes": [{"name": "files", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}],
    }


def end_within(settings: RouterSettings) -> int:
    """Return the seconds within which a pod has ended: the drain's own and the start of its process."""
    return settings.drain_deadline + 5


def spread(name: str, key: str) -> Manifest:
    """Return the wish, not the demand, to have the pods apart."""
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(name)},
    }


def follower_command(namespace: str, name: str, settings: RouterSettings) -> list[str]:
    """Return the follower's command line."""
    return [
        *settings.follower_command,
        "follow",
        f"--namespace={namespace}",
        f"--config-map={config_map_name(name)}",
        f"--directory={DIRECTORY}",
    ]


def drain_hook(settings: RouterSettings) -> Manifest:
    """Return the hook that lets Envoy finish; then it ends Envoy, and with it Envoy's own pause."""
    options = [f"--settle={settings.drain_settle}", f"--deadline={settings.drain_deadline}"]
    return {"preStop": {"exec": {"command": [*settings.follower_command, "drain", *options]}}}


def operator_container(name: str, command: list[str], settings: RouterSettings) -> Manifest:
    """Return a container of the operator's image that writes Envoy's files."""
    return {
        "name": name,
        "image": settings.operator_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": command,
        "resources": settings.follower_resources.manifest(),
        "securityContext": restricted(),
        "volumeMounts": [{"name": "files", "mountPath": DIRECTORY}],
    }


def envoy_container(namespace: str, name: str, settings: RouterSettings) -> Manifest:
    """Return Envoy: ready once it has routes, alive as long as its admin answers at all."""
    bootstrap = BootstrapSettings(
        directory=DIRECTORY,
        http_port=HTTP_PORT,
        stats_port=STATS_PORT,
        admin_port=ADMIN_PORT,
        access_log=settings.access_log,
        max_heap_bytes=settings.envoy_heap,
    )
    config = json.dumps(render_bootstrap(namespace, name, bootstrap), separators=(",", ":"))
    ready = {"httpGet": {"path": "/ready", "port": "stats"}}
    # Not /ready: a pod that drains is not ready, and must not be killed for it.
    alive = {"httpGet": {"path": "/stats?filter=%5Eserver.live$", "port": "stats"}}
    return {
        "name": "envoy",
        "image": settings.envoy_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": [*settings.envoy_command, *envoy_arguments(config, settings)],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "stats", "containerPort": STATS_PORT, "protocol": "TCP"},
        ],
        "startupProbe": ready | {"periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": ready | {"periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": alive | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": end_within(settings)}}},
        "resources": settings.envoy_resources.manifest(),
        "securityContext": restricted(),
        "volumeMounts": [{"name": "files", "mountPath": DIRECTORY, "readOnly": True}],
    }


def envoy_arguments(config: str, settings: RouterSettings) -> list[str]:
    """Return Envoy's arguments; the whole bootstrap is one of them, so a change of it is a roll-out."""
    return [
        "--config-yaml",
        config,
        "--concurrency",
        str(settings.concurrency),
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ]


def restricted() -> Manifest:
    """Return what the `restricted` Pod Security Standard asks of a container, and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
