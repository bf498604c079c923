"""The real kstatus, as Flux and `kpt` ask it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from cluster.tools.binaries import build_binaries

_HEAD = {"apiVersion": "modelramp.dev/v1alpha1", "kind": "ModelDeployment"}
BY_HEALTH = {"Healthy": "Current", "Degraded": "Failed", "Progressing": "InProgress", "Suspended": "InProgress"}
"""What kstatus has to say where Argo CD says this, of an object that is not being deleted."""


def compute(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the status of each object."""
    text = "\n".join(json.dumps(_HEAD | dict(each)) for each in objects)
    program = build_binaries(["kstatus"])["kstatus"]
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
