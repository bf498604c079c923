"""A ModelDeployment in a ramp on a route of a user's VirtualService, on a real API server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from modelramp.adapters.kinds import VIRTUAL_SERVICE
from modelramp.ports import Rollout
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Route, Split, Value
from modelramp.rollout.status import Status
from tests.adapters.real import Process, RealCluster, pin, read
from tests.adapters.routes import NAME, PATCH, weights_of

V7, V8 = f"{NAME}-v7", f"{NAME}-v8"
ALL_ON_7 = SetTraffic(Split({"7": 100}), "7", ("7", "8"), retreat=True, why="retreat 8-a errors")
SHADOW_8 = SetTraffic(Split({"7": 100}, {"8": 30}), "7", ("7", "8"), retreat=False, why="shadow")
TENTH_ON_8 = SetTraffic(Split({"7": 90, "8": 10}), "7", ("7", "8"), retreat=False, why="step 2")
HALF_ON_8 = SetTraffic(Split({"7": 50, "8": 50}), "7", ("7", "8"), retreat=False, why="step 3")
RAMPING = Status(stable=pin("7"), candidate=pin("8"))


def foreign_routes(count: int) -> list[Any]:
    """Return routes with all that people write into them."""
    return [
        {
            "name": f"route-{number}",
            "match": [{"uri": {"prefix": f"/v{number}/"}, "headers": {"x-team": {"exact": f"team {number}"}}}],
            "rewrite": {"uri": "/"},
            "route": [
                {"destination": {"host": f"svc-{number}", "subset": "a", "port": {"number": 8080}}, "weight": 37},
                {
                    "destination": {"host": f"svc-{number}.other.svc.cluster.local"},
                    "weight": 63,
                    "headers": {"response": {"set": {"x-arm": "b"}, "remove": ["server"]}},
                },
            ],
            "mirror": {"host": f"shadow-{number}"},
            "mirrorPercentage": {"value": 12.5},
            "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "connect-failure,refused-stream"},
            "fault": {"delay": {"percentage": {"value": 0.1}, "fixedDelay": "5s"}},
            "corsPolicy": {"allowOrigins": [{"exact": "https://shop.example.com"}], "maxAge": "24h"},
            "headers": {"request": {"add": {"x-forwarded-by": "shop"}}},
            "timeout": "7s",
        }
        for number in range(count)
    ]


COMMENTS = {"comments": '# keep me\n\t"ü" \\ {}', "kubectl.kubernetes.io/last-applied-configuration": "{}"}


@dataclass
class Scene:
    """A process that leads, a ModelDeployment in a ramp, and the user's VirtualService."""

    real: RealCluster
    process: Process
    rollout: Rollout

    async def stored(self) -> Any:
        return await self.real.get(VIRTUAL_SERVICE, "shop")

    async def weights(self) -> dict[str, int]:
        return weights_of(VIRTUAL_SERVICE, await self.stored())

    async def route(self, process: Process | None = None) -> Route:
        found = await (process or self.process).traffic.read(self.rollout)
        assert isinstance(found, Value), found
        return found.value

    async def edit(self, patch: Any, manager: str = "kubectl-edit") -> None:
        """Change the VirtualService by hand; the process hears of it only by `hear`."""
        path, kind = VIRTUAL_SERVICE.path(self.real.namespace, "shop"), "application/json-patch+json"
        await self.real.request("PATCH", path, patch, kind=kind, manager=manager)

    async def hear(self) -> None:
        await self.process.writer.refresh(VIRTUAL_SERVICE, self.real.namespace, "shop")


async def staged(real: RealCluster, theirs: Any) -> Scene:
    await real.request("POST", VIRTUAL_SERVICE.path(real.namespace), theirs, manager="gitops")
    process = real.process()
    rollout = await read(process, await real.create_model(NAME, traffic=PATCH))
    return Scene(real, process, replace(rollout, status=RAMPING))
