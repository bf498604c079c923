"""Ask for a drill with the user's own kubeconfig, and wait for how it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.adapters.kubernetes import Cluster
from modelramp.api import read_status
from modelramp.inquiry import InquiryError, Told, found, reach
from modelramp.ports import Ref
from modelramp.rollout.drill import REHEARSED
from modelramp.rollout.status import Drill

MANAGER = "kubectl-modelramp"
_AGAIN = 0.5


async def rehearse(name: str, namespace: str | None, kubeconfig: Path | None, patience: float) -> Told:
    """Return how the drill ended. Raises InquiryError where none could be asked for, or none ended in `patience` s."""
    asked = f"{SystemClock().now():%Y-%m-%dT%H:%M:%S.%fZ}"
    async with reach(namespace, kubeconfig) as (cluster, where):
        ref = Ref(where, name)
        patch = {"spec": {"drill": asked}}
        found(await cluster.patch(MODEL_DEPLOYMENT, where, name, patch, manager=MANAGER), ref)
        try:
            async with asyncio.timeout(patience):
                drill = await _ended(cluster, ref, asked)
        except TimeoutError:
            said = f"no drill ended within {patience:g} s; is the operator running? (kubectl get lease -A)"
            raise InquiryError(said) from None
    return Told(f"{drill.reason}: {drill.message}\n", drill.reason == REHEARSED)


async def _ended(cluster: Cluster, ref: Ref, asked: str) -> Drill:
    while True:
        obj = found(await cluster.get(MODEL_DEPLOYMENT, ref.namespace, ref.name), ref)
        drill = read_status(obj).drill
        if drill is not None and drill.asked == asked and not drill.is_running:
            return drill
        await asyncio.sleep(_AGAIN)
