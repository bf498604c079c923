"""A process that wants to lead and writes down, at its end, when it might write: for tests that stop and continue it.

`python -m tests.loop.elector KUBECONFIG NAMESPACE NAME FILE`: the file gets a line for each stretch of time in which
`held()` said yes at every look, as `epoch first last`; times are `ticks()`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.kubernetes import Cluster
from modelramp.adapters.leases import LeaseObject
from modelramp.leader import Election, Terms, ticks, unique_identity
from modelramp.ports import Ref

QUICK = Terms(
    duration=timedelta(seconds=3),
    deadline=timedelta(seconds=2),
    renew_every=timedelta(seconds=0.7),
    retry_every=timedelta(seconds=0.3),
    recover_every=timedelta(seconds=0.2),
    call=timedelta(seconds=1),
)


class Stretches:
    """When one process held the lease; every look uses the very tick that the answer was given for."""

    def __init__(self) -> None:
        self.found: list[list[float]] = []
        self._tick = 0.0
        self._holding = False

    def ticks(self) -> float:
        self._tick = ticks()
        return self._tick

    def look(self, election: Election) -> None:
        held = election.held()
        if held and self._holding:
            self.found[-1][2] = self._tick
        elif held:
            self.found.append([election.epoch, self._tick, self._tick])
        self._holding = held


async def main(kubeconfig: str, namespace: str, name: str, file: str) -> None:
    """Take part until the lease is lost, or until SIGTERM."""
    clock, stretches = SystemClock(), Stretches()
    cluster = await Cluster.connect(Path(kubeconfig))
    leases = LeaseObject(cluster, Ref(namespace, name), clock)
    election = Election(leases, unique_identity("elector"), clock, QUICK, ticks=stretches.ticks)

    async def lead() -> None:
        await election.acquire()
        await election.keep(lambda: None)

    leading = asyncio.create_task(lead())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leading.cancel)
    print(election.identity, flush=True)
    while not leading.done():
        stretches.look(election)
        await asyncio.sleep(0.002)
    stretches.look(election)
    lines = "".join(f"{int(epoch)} {first!r} {last!r}\n" for epoch, first, last in stretches.found)
    await asyncio.to_thread(Path(file).write_text, lines)
    await cluster.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
