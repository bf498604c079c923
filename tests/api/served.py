"""ModelDeployments on the real API server."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelramp.api import GROUP, PLURAL, VERSION
from modelramp.api.crd import PROMOTION_POLICY
from tests.controlplane import ApiServer

_CRDS = Path(__file__).parents[2] / "crds"
_PATIENCE = 20.0  # seconds for the API server to serve what it accepted
_PAUSE = 0.05


@dataclass(frozen=True)
class Answer:
    """What the API server answered: the object, or what it says is wrong, by field."""

    code: int
    body: dict[str, Any]

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Return field and message of every fault, without the remark that rules were left unchecked."""
        listed = self.body.get("details", {}).get("causes", [])
        return [(cause["field"], cause["message"]) for cause in listed if cause.get("field") != "<nil>"]


@dataclass(frozen=True)
class Served:
    """The ModelDeployments of one namespace."""

    server: ApiServer
    namespace: str

    @property
    def path(self) -> str:
        """Return the collection's path."""
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{PLURAL}"

    def create(self, body: dict[str, Any], *, dry: bool = False) -> Answer:
        """Create as `kubectl apply` does: unknown fields are faults."""
        return self._ask("POST", f"{self.path}?fieldValidation=Strict{'&dryRun=All' if dry else ''}", body)

    def read(self, name: str) -> dict[str, Any]:
        """Read one object."""
        found: dict[str, Any] = self.server.request("GET", f"{self.path}/{name}")
        return found

    def merge(self, name: str, change: dict[str, Any]) -> Answer:
        """Change as `kubectl patch --type merge` does."""
        path = f"{self.path}/{name}?fieldValidation=Strict"
        return self._ask("PATCH", path, change, kind="application/merge-patch+json")

    def write_status(self, name: str, status: dict[str, Any]) -> Answer:
        """Replace the status, whole."""
        body = self.read(name) | {"status": status}
        return self._ask("PUT", f"{self.path}/{name}/status?fieldValidation=Strict", body)

    def _ask(self, method: str, path: str, body: Any, kind: str = "") -> Answer:
        try:
            return Answer(200, self.server.request(method, path, body, kind=kind))
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(refusal.code, json.loads(refusal.read()))


def install(server: ApiServer) -> None:
    """Apply the CRDs, and wait until they are served and published."""
    for file in sorted(_CRDS.glob("*.yaml")):
        _apply(server, yaml.safe_load(file.read_text(encoding="utf-8")))
    for plural in (PLURAL, PROMOTION_POLICY.plural):
        soon(lambda plural=plural: server.request("GET", f"/apis/{GROUP}/{VERSION}/{plural}"))  # type: ignore[misc]
    soon(lambda: published(server))


def _apply(server: ApiServer, definition: dict[str, Any]) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
    server.request(
        "PATCH",
        f"{path}?fieldManager=tests&force=true&fieldValidation=Strict",
        definition,
        kind="application/apply-patch+yaml",
    )


def published(server: ApiServer) -> dict[str, Any]:
    """Return the schema that `kubectl explain` reads."""
    schemas = server.request("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")["components"]["schemas"]
    found: dict[str, Any] = schemas[f"dev.modelramp.{VERSION}.ModelDeployment"]
    return found


def table(served: Served) -> list[dict[str, Any]]:
    """Return the rows that `kubectl get mdep` prints, by column."""
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    headers = {"Authorization": f"Bearer {served.server.token}", "Accept": accept}
    request = urllib.request.Request(served.server.url + served.path, headers=headers)
    trusting = ssl.create_default_context(cafile=str(served.server.ca))
    with urllib.request.urlopen(request, context=trusting, timeout=30) as answer:
        printed = json.loads(answer.read())
    columns = [column["name"].upper() for column in printed["columnDefinitions"]]
    return [dict(zip(columns, row["cells"], strict=True)) for row in printed["rows"]]


def soon(ask: Callable[[], Any]) -> None:
    """Ask until there is an answer."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            ask()
        except (urllib.error.HTTPError, KeyError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
