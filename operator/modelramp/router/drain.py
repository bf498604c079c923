"""Let one Envoy finish before its pod stops: the follower container's preStop hook."""

import asyncio
import logging
from dataclasses import dataclass

import aiohttp

from modelramp.router.admin import Unreadable, post, read_statistics
from modelramp.router.journal import note

ACTIVE, TOTAL = "http.ingress.downstream_rq_active", "http.ingress.downstream_rq_total"


@dataclass(frozen=True)
class DrainSettings:
    """Say which Envoy and how long; seconds.

    `settle`: at least so long new requests are still answered, while the cluster learns that the pod goes.
    `quiet`: no request may run or come for so long. `deadline`: then it ends all the same.
    """

    admin: str = "http://127.0.0.1:9900"
    settle: float = 5.0
    quiet: float = 1.0
    deadline: float = 40.0
    answer_within: float = 1.0


async def drain(settings: DrainSettings) -> bool:
    """Fail the readiness, wait for quiet, end Envoy. Returns whether all was quiet in time."""
    async with aiohttp.ClientSession() as session:
        # From now on /ready says 503 and every answer asks its client to close the connection.
        if (failed := await post(session, f"{settings.admin}/healthcheck/fail", settings.answer_within)) is not None:
            note("Envoy is away", {"error": failed.detail}, logging.WARNING)
            return True
        quiet = await wait_for_quiet(session, settings)
        note("drained" if quiet else "drain deadline passed", level=logging.INFO if quiet else logging.WARNING)
        await post(session, f"{settings.admin}/quitquitquit", settings.answer_within)
        return quiet


async def wait_for_quiet(session: aiohttp.ClientSession, settings: DrainSettings) -> bool:
    """Wait until no request runs and none has come since the look before."""
    loop = asyncio.get_running_loop()
    begin, before = loop.time(), -1
    while loop.time() - begin < settings.deadline:
        active, total = await count_requests(session, settings)
        if active == 0 and total == before and loop.time() - begin >= settings.settle:
            return True
        before = total
        await asyncio.sleep(settings.quiet)
    return False


async def count_requests(session: aiohttp.ClientSession, settings: DrainSettings) -> tuple[int, int]:
    """Return the requests that run and those that ever came; no answer is not quiet."""
    found = await read_statistics(session, settings.admin, f"^({ACTIVE}|{TOTAL})$", settings.answer_within)
    if isinstance(found, Unreadable):
        return 1, -2
    return int(found.get(ACTIVE, 1)), int(found.get(TOTAL, -2))
