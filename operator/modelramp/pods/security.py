"""What a pod would be allowed beyond the `restricted` Pod Security Standard.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelramp.pods.strategic import Fault

POD_SECURITY: Mapping[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    }
)  # fmt: skip
_SELINUX = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_CONTAINERS = ("initContainers", "containers")


def weaknesses(pod: Mapping[str, Any], ours: frozenset[str]) -> Iterator[Fault]:
    """Yield what in a pod's spec is beyond `restricted`; `ours` are the containers that keep a read-only root."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f".{field}", "shares the node's own"
    security = _mapping(pod.get("securityContext"))
    yield from _shared_weaknesses(security, ".securityContext")
    for sysctl in _items(security.get("sysctls")):
        if sysctl.get("name") not in _SYSCTLS:
            yield ".securityContext.sysctls", f"{sysctl.get('name')} is not a safe sysctl"
    for volume in _items(pod.get("volumes")):
        if kinds := volume.keys() - _VOLUMES - {"name"}:
            yield f".volumes[{volume.get('name')}]", f"{', '.join(sorted(kinds))} reaches beyond the pod"
    for group in _CONTAINERS:
        for container in _items(pod.get(group)):
            yield from _container_weaknesses(container, security, f".{group}[{container.get('name')}]", ours)


def _container_weaknesses(
    container: Mapping[str, Any], pod: Mapping[str, Any], at: str, ours: frozenset[str]
) -> Iterator[Fault]:
    security, path = _mapping(container.get("securityContext")), f"{at}.securityContext"
    yield from _shared_weaknesses(security, path)
    if security.get("privileged"):
        yield f"{path}.privileged", "gives the container the whole node"
    if security.get("allowPrivilegeEscalation") is not False:
        yield f"{path}.allowPrivilegeEscalation", "must be false"
    if security.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"{path}.runAsNonRoot", "must be true"
    if _mapping(security.get("seccompProfile") or pod.get("seccompProfile")).get("type") is None:
        yield f"{path}.seccompProfile.type", "must be RuntimeDefault or Localhost"
    if security.get("procMount", "Default") != "Default":
        yield f"{path}.procMount", "must be Default"
    if container.get("name") in ours and security.get("readOnlyRootFilesystem") is not True:
        yield f"{path}.readOnlyRootFilesystem", "must be true"
    yield from _capability_weaknesses(_mapping(security.get("capabilities")), f"{path}.capabilities")
    if any(port.get("hostPort") for port in _items(container.get("ports"))):
        yield f"{at}.ports", "hostPort takes a port of the node"


def _shared_weaknesses(security: Mapping[str, Any], path: str) -> Iterator[Fault]:
    """Yield what a pod and a container may say alike."""
    if security.get("runAsUser") == 0:
        yield f"{path}.runAsUser", "must not be 0, which is root"
    if security.get("runAsNonRoot", True) is not True:
        yield f"{path}.runAsNonRoot", "must be true"
    for field in ("seccompProfile", "appArmorProfile"):
        if _mapping(security.get(field)).get("type") == "Unconfined":
            yield f"{path}.{field}.type", "must not be Unconfined"
    selinux = _mapping(security.get("seLinuxOptions"))
    if selinux.get("type", "") not in _SELINUX or selinux.get("user") or selinux.get("role"):
        yield f"{path}.seLinuxOptions", "changes the node's confinement"
    if _mapping(security.get("windowsOptions")).get("hostProcess"):
        yield f"{path}.windowsOptions.hostProcess", "gives the container the whole node"


def _capability_weaknesses(capabilities: Mapping[str, Any], path: str) -> Iterator[Fault]:
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{path}.drop", "must have ALL"
    if more := set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"{path}.add", f"must not have {', '.join(sorted(map(str, more)))}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())
