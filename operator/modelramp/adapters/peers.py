"""How the pods of an object find each other, to compare what two versions answered to the same requests."""

from __future__ import annotations

from modelramp.ports import Ref
from modelramp.rollout.spec import Capture


def peers_name(name: str) -> str:
    """Return what the Service that leads to every pod of every version is called."""
    return f"{name}-peers"


def capture_variables(ref: Ref, capture: Capture, port: int, *, marks_copies: bool) -> dict[str, str]:
    """Return what a model server has to know; `marks_copies` tells whether a copied request says that it is one."""
    return {
        "MODELRAMP_CAPTURE_PERCENT": str(capture.percent),
        "MODELRAMP_CAPTURE_TOLERANCE": repr(capture.tolerance),
        "MODELRAMP_CAPTURE_PEERS": f"{peers_name(ref.name)}.{ref.namespace}.svc:{port}",
        "MODELRAMP_CAPTURE_ASKS": "copies" if marks_copies else "all",
    }
