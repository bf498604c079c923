"""Fill the store with what one object owns, where no watch has told of it yet."""

from __future__ import annotations

from collections.abc import Iterable

from modelramp.adapters.kinds import NAME, Kind
from modelramp.adapters.kubernetes import Cluster, Listing
from modelramp.adapters.store import Store
from modelramp.ports import Ref
from modelramp.rollout.observation import Failed


async def read_owned(cluster: Cluster, store: Store, kinds: Iterable[Kind], ref: Ref) -> Failed | None:
    """Read into the store what belongs to a ModelDeployment, of each kind that no watch has listed yet.

    Return why it could not be read, None when all is there.
    """
    for kind in kinds:
        if store.is_complete(kind):
            continue
        answer = await cluster.list(kind, ref.namespace, f"{NAME}={ref.name}")
        if not isinstance(answer, Listing):
            return answer
        for obj in answer.items:
            store.put(kind, obj)
    return None
