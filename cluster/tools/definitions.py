"""The kinds of Istio and of the Gateway API: their definitions, out of their pinned Go modules."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster.processes import exclusive, run
from cluster.settings import SOURCE, cache_directory
from cluster.tools.golang import find_go, required_version

MODULE = SOURCE / "tools" / "definitions"
ISTIO = ("istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml")
GATEWAY_API = ("sigs.k8s.io/gateway-api", "config/crd/standard")
PLURALS = frozenset(
    {
        "virtualservices.networking.istio.io", "destinationrules.networking.istio.io",
        "gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io",
        "httproutes.gateway.networking.k8s.io", "grpcroutes.gateway.networking.k8s.io",
        "referencegrants.gateway.networking.k8s.io",
    }
)  # fmt: skip
"""The kinds that routes are made of."""


def read_definitions(names: Iterable[str] = PLURALS) -> list[Any]:
    """Return the CustomResourceDefinitions of these names; the modules are fetched when the cache has none."""
    wanted = set(names)
    return [found for found in _documents(wanted) if found["metadata"]["name"] in wanted]


def _documents(wanted: Collection[str]) -> Iterator[Any]:
    for module, path in (ISTIO, GATEWAY_API):
        place = downloaded(module, MODULE) / path
        for file in sorted(place.glob("*.yaml")) if place.is_dir() else [place]:
            # Most of these files are other kinds: what is not wanted is not parsed.
            texts = (text for text in file.read_text().split("\n---\n") if any(name in text for name in wanted))
            yield from (yaml.load(text, Loader=yaml.CSafeLoader) for text in texts)


def downloaded(module: str, requiring: Path) -> Path:
    """Return where the source of a Go module is, fetched when the cache has none; `requiring` is the module with it."""
    go = find_go(required_version(requiring))
    with exclusive(cache_directory() / "locks" / "definitions"):
        said = run(
            [go.command, "mod", "download", "-json", module],
            cwd=requiring,
            env={"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        )
    return Path(json.loads(said)["Dir"])
