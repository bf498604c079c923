"""Ask Envoy whether it has what was written."""

from collections.abc import Mapping
from enum import Enum

import aiohttp

from modelramp.router.admin import Unreadable, read_runtime, read_statistics
from modelramp.router.render import ROUTES
from modelramp.router.swap import State, state_files

STRUCTURE = {"rds": f"http.ingress.rds.{ROUTES}", "cds": "cluster_manager.cds"}


class Outcome(Enum):
    """Name what Envoy made of a step."""

    PENDING = "Pending"
    IN_EFFECT = "InEffect"
    REFUSED = "Refused"


class Confirmation:
    """One Envoy's admin, asked within `within` seconds an answer."""

    def __init__(self, session: aiohttp.ClientSession, admin: str, within: float) -> None:
        """Ask the admin at this address."""
        self.session = session
        self.admin = admin
        self.within = within

    async def read_outcome(self, folder: str, step: State, refusals: int) -> Outcome:
        """Return what Envoy made of a step; no answer is no outcome. `refusals`: those counted before it."""
        if folder == "runtime":
            return judge_runtime(step, await read_runtime(self.session, self.admin, self.within))
        return judge_structure(folder, step, refusals, await self.read_structure(folder))

    async def count_refusals(self, folder: str) -> int:
        """Return how often Envoy has refused this folder so far; scalars it never refuses."""
        if folder not in STRUCTURE:
            return 0
        found = await self.read_structure(folder)
        return 0 if isinstance(found, Unreadable) else counted_refusals(folder, found)

    async def read_structure(self, folder: str) -> Mapping[str, int | str] | Unreadable:
        """Read what Envoy says about one discovery service."""
        names = "version_text|update_rejected|update_failure"
        pattern = rf"^{STRUCTURE[folder]}\.({names})$|^cluster_manager\.warming_clusters$"
        return await read_statistics(self.session, self.admin, pattern, self.within)


def judge_runtime(step: State, runtime: Mapping[str, str] | Unreadable) -> Outcome:
    """Return whether Envoy's runtime is what was written."""
    same = not isinstance(runtime, Unreadable) and runtime == dict(step.scalars)
    return Outcome.IN_EFFECT if same else Outcome.PENDING


def judge_structure(folder: str, step: State, refusals: int, found: Mapping[str, int | str] | Unreadable) -> Outcome:
    """Return what Envoy's statistics say about a step of its routes or clusters."""
    if isinstance(found, Unreadable):
        return Outcome.PENDING
    if found.get(f"{STRUCTURE[folder]}.version_text") == version_in(folder, step):
        return Outcome.PENDING if found.get("cluster_manager.warming_clusters") else Outcome.IN_EFFECT
    return Outcome.REFUSED if counted_refusals(folder, found) > refusals else Outcome.PENDING


def counted_refusals(folder: str, found: Mapping[str, int | str]) -> int:
    """Return how often Envoy refused or could not read a folder's file."""
    names = (f"{STRUCTURE[folder]}.{what}" for what in ("update_rejected", "update_failure"))
    return sum(int(found.get(name, 0)) for name in names)


def changed_folder(before: State | None, step: State) -> str:
    """Return the one folder in which two states differ."""
    old, new = state_files(before) if before else {}, state_files(step)
    return next((folder for folder in new if old.get(folder) != new[folder]), "runtime")


def version_in(folder: str, state: State) -> str:
    """Return the version that a folder's file says it has."""
    return {"rds": state.routes.version, "cds": state.clusters.version}.get(folder, "")
