"""One bare node: its name, its addresses and its folder."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import SettingError
from cluster.settings import node_directory

PROXY_MODES = "iptables", "nftables"


@dataclass(frozen=True)
class NodeSpec:
    """What a node is made from; every node has a network of its own, so the addresses may be the same."""

    name: str
    directory: Path
    sync_frequency: str = "1m"
    proxy_mode: str = "iptables"
    node_address: str = "10.89.0.2"
    pod_range: str = "10.244.0.0/24"
    service_range: str = "10.97.0.0/16"
    api_address: str = field(default="10.97.0.1")  # the first of the service range
    dns_address: str = "10.97.0.10"
    api_port: int = 26443


def node_spec(name: str) -> NodeSpec:
    """Return the node of this name with what the environment sets.

    Raises SettingError for a name or a value that cannot be.
    """
    mode = os.environ.get("MODELRAMP_PROXY_MODE") or PROXY_MODES[0]
    if mode not in PROXY_MODES:
        raise SettingError(f"MODELRAMP_PROXY_MODE={mode}: use {' or '.join(PROXY_MODES)}")
    frequency = os.environ.get("MODELRAMP_SYNC_FREQUENCY") or "1m"
    return NodeSpec(name, node_directory(name), sync_frequency=frequency, proxy_mode=mode)
