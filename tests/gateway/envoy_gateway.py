"""Envoy Gateway, an implementation of the Gateway API: its control plane on an API server without nodes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.processes import exclusive, run
from cluster.settings import cache_directory
from cluster.tools.binaries import BINARIES, build_binaries
from cluster.tools.definitions import downloaded
from tests.adapters.routes import establish
from tests.controlplane import ApiServer
from tests.controlplane.supervised import Supervised, free_port

PROGRAM, NAMESPACE = "envoy-gateway", "envoy-gateway-system"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
XDS_PORT = 18000
_MODULE = "github.com/envoyproxy/gateway"
_PROXY_KIND = "charts/gateway-crds-helm/templates/generated/gateway.envoyproxy.io_envoyproxies.yaml"
_READY = "http://127.0.0.1:8081/readyz"
_FILES = ("ca.crt", "tls.crt", "tls.key")


@dataclass(frozen=True)
class EnvoyGateway:
    """A running Envoy Gateway; `certificates` is where those are with which a proxy asks it."""

    process: Supervised
    certificates: Path


def install_proxy_kind(server: ApiServer) -> None:
    """Install EnvoyProxy, the one kind of its own that it does not do without."""
    chart = (downloaded(_MODULE, BINARIES[PROGRAM].folder) / _PROXY_KIND).read_text()
    text = "\n".join(line for line in chart.splitlines() if not line.startswith("{{"))
    establish(server, [yaml.load(text, Loader=yaml.CSafeLoader)])


@contextmanager
def running_envoy_gateway(server: ApiServer, directory: Path) -> Iterator[EnvoyGateway]:
    """Run Envoy Gateway on an API server that has its kinds; one at a time on a machine, for its ports are fixed."""
    program = build_binaries([PROGRAM])[PROGRAM]
    with exclusive(cache_directory() / "locks" / PROGRAM):
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        root = _root(program, server, directory)
        process = _start(root, directory)
        try:
            yield EnvoyGateway(process, directory)
        finally:
            process.stop()


def _root(program: Path, server: ApiServer, directory: Path) -> Path:
    """Make the root directory of its own that it needs: it looks for certificates in `/certs` and nowhere else."""
    root = directory / "root"
    root.mkdir()
    shutil.copy(program, root / PROGRAM)
    (root / "kubeconfig").write_text(json.dumps(_kubeconfig(server)))
    (root / "config.yaml").write_text(json.dumps(_settings()))
    generate = [*_inside(root), "certgen", "--disable-topology-injector"]
    run(generate, env={"KUBECONFIG": "/kubeconfig"}, log=directory / "certgen.log")
    for name, place in ((PROGRAM, root / "certs"), ("envoy", directory / "certs")):
        _write_certificates(server, name, place)
    return root


def _inside(root: Path) -> list[str]:
    enter = ["chroot", str(root)] if os.geteuid() == 0 else ["unshare", "--map-root-user", f"--root={root}"]
    return [*enter, f"/{PROGRAM}"]


def _kubeconfig(server: ApiServer) -> Any:
    found = json.loads(server.kubeconfig.read_text())
    authority = base64.b64encode(server.ca.read_bytes()).decode()
    found["clusters"][0]["cluster"] = {"server": server.url, "certificate-authority-data": authority}
    return found


def _settings() -> dict[str, Any]:
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": CONTROLLER},
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {"leaderElection": {"disable": True}, "proxyTopologyInjector": {"disabled": True}},
        },
        "admin": {"address": {"host": "127.0.0.1", "port": free_port()}},
        "telemetry": {"metrics": {"prometheus": {"disable": True}}},
    }


def _write_certificates(server: ApiServer, secret: str, place: Path) -> None:
    place.mkdir()
    data = server.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret}")["data"]
    for name in _FILES:
        (place / name).write_bytes(base64.b64decode(data[name]))


def _start(root: Path, directory: Path) -> Supervised:
    command = ["env", "KUBECONFIG=/kubeconfig", *_inside(root), "server", "--config-path", "/config.yaml"]
    process = Supervised.start(command, directory / f"{PROGRAM}.log")
    process.await_answer(_is_ready)
    return process


def _is_ready() -> bool:
    with suppress(OSError), urllib.request.urlopen(_READY, timeout=5) as answer:
        return bool(answer.status == 200)
    return False
