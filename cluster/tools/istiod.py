"""istiod, Istio's control plane: found on the machine, never built here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VARIABLE, PROGRAM = "MODELRAMP_PILOT_DISCOVERY", "pilot-discovery"
MISSING = f"needs istiod: name the program by {VARIABLE}, or have {PROGRAM} on PATH"


def find_istiod() -> Path | None:
    """Return the program, None where the machine has none."""
    found = os.environ.get(VARIABLE) or shutil.which(PROGRAM)
    return Path(found) if found else None
