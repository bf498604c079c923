"""istiod, Istio's control plane, as a process beside a bare API server."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane import ApiServer
from tests.controlplane.supervised import Supervised, first_that_starts, free_port

NAMESPACE = "istio-system"
# No certificates, webhooks or service account tokens: there are no pods here that they would be for. A stock Envoy
# has no `istio.metadata_exchange`.
_ENVIRONMENT = {
    "ENABLE_CA_SERVER": "false",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "JWT_POLICY": "none",
    "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": "false",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "POD_NAME": "istiod-0",
    "POD_NAMESPACE": NAMESPACE,
    "REVISION": "default",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
}


@dataclass(frozen=True)
class Istiod:
    """A running istiod; proxies ask it at this port of the loopback, in plain text."""

    port: int
    process: Supervised

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it where it is: proxies go on with what they have."""
        group = self.process.shell.pid
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(group, signal.SIGCONT)


@contextmanager
def running_istiod(program: Path, server: ApiServer, directory: Path) -> Iterator[Istiod]:
    """Run istiod on an API server that has the namespace `istio-system` and Istio's kinds."""
    mesh = directory / "mesh.json"
    mesh.write_text(json.dumps({"enableAutoMtls": False}))
    istiod = first_that_starts(lambda: _start(program, server, mesh))
    try:
        yield istiod
    finally:
        istiod.process.stop()


def _start(program: Path, server: ApiServer, mesh: Path) -> Istiod:
    port, http, monitoring = free_port(), free_port(), free_port()
    options = {
        "kubeconfig": server.kubeconfig,
        "meshConfig": mesh,
        "httpAddr": f"127.0.0.1:{http}",
        "httpsAddr": "",
        "grpcAddr": f"127.0.0.1:{port}",
        "secureGRPCAddr": "",
        "monitoringAddr": f"127.0.0.1:{monitoring}",
        "ctrlz_port": "0",
    }
    environment = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
    command = [
        "env",
        *environment,
        str(program),
        "discovery",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    process = Supervised.start(command, mesh.with_name("istiod.log"))
    process.await_answer(lambda: _ready(f"http://127.0.0.1:{http}/ready"))
    return Istiod(port, process)


def _ready(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False
