"""The way into a node: its API on the host's loopback, and commands in its namespaces."""

import json
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import ClusterError
from cluster.node.certificates import kubeconfig, write_private
from cluster.node.processes import find_init, forwarder_word
from cluster.node.spec import NodeSpec
from cluster.processes import run, succeeds

_REACHABLE_LIMIT = 10.0  # seconds


def host_kubeconfig(spec: NodeSpec) -> Path:
    """Return the path of the administrator's kubeconfig for this machine."""
    return spec.directory / "kubeconfig"


def forward_api(spec: NodeSpec) -> None:
    """Give the API a port of the host's loopback and write the kubeconfig for it."""
    port = _free_port(spec.api_port)
    admin = json.loads((spec.directory / "etc" / "admin.kubeconfig").read_text())
    token = admin["users"][0]["user"]["token"]
    with (spec.directory / "log" / "api-forwarder.log").open("w") as log:
        listener = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
        command = ["setsid", "--fork", "socat", listener, forwarder_word(spec)]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    write_private(host_kubeconfig(spec), kubeconfig(spec, token, f"https://127.0.0.1:{port}"))
    _await_reachable(spec)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise ClusterError("no free TCP port on 127.0.0.1")


def _await_reachable(spec: NodeSpec) -> None:
    deadline = time.monotonic() + _REACHABLE_LIMIT
    while not _api_answers(spec):
        if time.monotonic() > deadline:
            log = spec.directory / "log" / "api-forwarder.log"
            raise ClusterError(f"the API does not answer on the host (log: {log})")
        time.sleep(0.05)


def _api_answers(spec: NodeSpec) -> bool:
    return succeeds([*_kubectl(spec), "get", "--raw", "/readyz"])


def is_healthy(spec: NodeSpec) -> bool:
    """Answer whether the API can be reached from the host and the node is Ready."""
    ready = [*_kubectl(spec), "wait", "--for=condition=Ready", f"node/{spec.name}", "--timeout=20s"]
    return host_kubeconfig(spec).exists() and succeeds(ready)


def _kubectl(spec: NodeSpec) -> list[str | Path]:
    return [spec.directory / "bin" / "kubectl", "--kubeconfig", host_kubeconfig(spec), "--request-timeout=5s"]


def inside(spec: NodeSpec, command: Sequence[str]) -> list[str]:
    """Return the command line that runs a command in the node's namespaces; raises ClusterError when it is down."""
    init = find_init(spec)
    if init is None:
        raise ClusterError(f"node {spec.name} is not up; run: python -m cluster up --name {spec.name}")
    setting = f"export KUBECONFIG={shlex.quote(str(spec.directory / 'etc/admin.kubeconfig'))}"
    path = f"PATH={shlex.quote(str(spec.directory / 'bin'))}:{os.environ['PATH']}:/usr/sbin:/sbin"
    words = ["env", path, "sh", "-c", f'{setting}; exec "$@"', "sh", *command]
    return ["nsenter", "--target", str(init), "--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", *words]


def run_inside(spec: NodeSpec, command: Sequence[str]) -> str:
    """Run a command in the node to its end and return its output."""
    return run(inside(spec, command))
