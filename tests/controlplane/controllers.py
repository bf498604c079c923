"""Kubernetes' own controllers, where a test needs what only they say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.tools.binaries import build_binaries
from tests.controlplane.apiserver import ApiServer
from tests.controlplane.supervised import Supervised


@contextmanager
def running_controllers(server: ApiServer, *names: str) -> Iterator[None]:
    """Run these controllers of kube-controller-manager as an administrator."""
    program = build_binaries(("kube-controller-manager",))["kube-controller-manager"]
    options = {
        "kubeconfig": server.kubeconfig,
        "controllers": ",".join(names),
        "leader-elect": "false",
        "secure-port": 0,
    }
    command = [str(program), *(f"--{name}={value}" for name, value in options.items())]
    controllers = Supervised.start(command, server.directory / "kube-controller-manager.log")
    try:
        yield
    finally:
        controllers.stop()
