"""The chart as the pinned helm renders it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cluster.settings import REPOSITORY
from cluster.tools.binaries import build_binaries

CHART = REPOSITORY / "charts" / "modelramp"
NAMESPACE = "modelramp-system"
KUBERNETES = "1.36.3"
NEEDED = {
    "mlflow": {"uri": "http://mlflow.mlflow.svc:5000"},
    "prometheus": {"url": "http://prometheus.monitoring:9090"},
}

Values = Mapping[str, Any]
Object = dict[str, Any]


class RefusedError(Exception):
    """What helm says when it does not render."""


@cache
def helm() -> Path:
    """Return the pinned helm, built when the cache has none."""
    return build_binaries(["helm"])["helm"]


def rendered(values: Values | None = None, *, release: str = "modelramp", namespace: str = NAMESPACE) -> list[Object]:
    """Return every object of the chart. Raises RefusedError with helm's words."""
    text = _template(NEEDED | dict(values or {}), release, namespace)
    return [document for document in yaml.safe_load_all(text) if document]


def refusal(values: Values) -> str:
    """Return helm's words about values that it must not take."""
    try:
        _template(values, "modelramp", NAMESPACE)
    except RefusedError as refused:
        return str(refused)
    raise AssertionError(f"helm took {values}")


def named(objects: list[Object], kind: str, name: str = "modelramp") -> Object:
    """Return the one object of a kind and name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def plural(kind: str) -> str:
    """Return a kind's name in a URL."""
    return f"{kind.lower().removesuffix('y')}ies" if kind.endswith("y") else f"{kind.lower()}s"


def operator_container(objects: list[Object]) -> Object:
    """Return the operator's only container."""
    (container,) = named(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(container)


def _template(values: Values, release: str, namespace: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        options = ["--namespace", namespace, "--kube-version", KUBERNETES, "--values", file.name]
        command = [str(helm()), "template", release, str(CHART), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout
