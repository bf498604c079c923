"""Where etcd and kube-apiserver come from, and how they are started."""

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.tools.binaries import build_binaries
from tests.controlplane.supervised import NotStartedError, Supervised, first_that_starts, free_port


def find_programs() -> dict[str, Path]:
    """Return the programs by name: from $KUBEBUILDER_ASSETS, else from the cache, built when missing."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    names = ("etcd", "kube-apiserver")
    if not assets:
        return build_binaries(names)
    found = {name: Path(assets) / name for name in names}
    for path in found.values():
        if not os.access(path, os.X_OK):
            raise NotStartedError(f"KUBEBUILDER_ASSETS={assets}: {path.name} is not there or not executable")
    return found


@contextmanager
def running_etcd(program: Path, directory: Path) -> Iterator[str]:
    """Run etcd without fsync, for tests only, and yield its clients' URL."""
    etcd, url = first_that_starts(lambda: _start_etcd(program, directory))
    try:
        yield url
    finally:
        etcd.stop()


def _start_etcd(program: Path, directory: Path) -> tuple[Supervised, str]:
    clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    options = {
        "data-dir": directory / "etcd",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
        "log-level": "warn",
    }
    command = [str(program), "--unsafe-no-fsync", *(f"--{name}={value}" for name, value in options.items())]
    etcd = Supervised.start(command, directory / "etcd.log")
    etcd.await_answer(lambda: _answers(f"{clients}/health"))
    return etcd, clients


def api_server_command(program: Path, directory: Path, store: str, port: int, webhook: Path) -> list[str]:
    """Return the command line; the key that signs service account tokens is made when it is not there."""
    key = directory / "service-accounts.key"
    if not key.exists():
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    options = _api_server_options(directory, store, port, webhook, key)
    return [str(program), *(f"--{name}={value}" for name, value in options.items())]


def _api_server_options(directory: Path, store: str, port: int, webhook: Path, key: Path) -> dict[str, object]:
    return {
        "etcd-servers": store,
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "advertise-address": "127.0.0.1",
        "endpoint-reconciler-type": "none",  # an EndpointSlice may not hold a loopback address
        "cert-dir": directory / "certificates",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": key,
        "service-account-signing-key-file": key,
        "service-cluster-ip-range": "10.96.0.0/16",
        "authorization-mode": "RBAC",
        "token-auth-file": directory / "tokens.csv",
        "authentication-token-webhook-config-file": webhook,
        "authentication-token-webhook-version": "v1",
        # No controller makes service accounts here, so pods could not be written.
        "disable-admission-plugins": "ServiceAccount",
        # The default of a minute is for load balancers; watches end at once with the process.
        "shutdown-delay-duration": "0s",
    }


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False
