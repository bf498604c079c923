"""Each ModelDeployment's route, by the backend that its spec names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelramp.ports import Rollout, Traffic, Written
from modelramp.rollout.actions import SetTraffic
from modelramp.rollout.observation import Effect, Reading, Route
from modelramp.rollout.spec import ConfigMapTraffic, GatewayKind, GatewayTraffic, Holding, IstioTraffic


@dataclass(frozen=True, slots=True)
class RoutesByBackend:
    """One adapter a backend; the only place that knows which belongs to which."""

    config_map: Traffic
    istio: Mapping[Holding, Traffic]
    gateway: Mapping[GatewayKind, Traffic]

    async def read(self, rollout: Rollout) -> Reading[Route]:
        """Read the stored split."""
        return await self._of(rollout).read(rollout)

    async def measure(self, rollout: Rollout) -> Reading[Effect]:
        """Ask what the proxies do."""
        return await self._of(rollout).measure(rollout)

    async def write(self, rollout: Rollout, wanted: SetTraffic) -> Written:
        """Store the split."""
        return await self._of(rollout).write(rollout, wanted)

    def _of(self, rollout: Rollout) -> Traffic:
        match rollout.spec.traffic:
            case ConfigMapTraffic():
                return self.config_map
            case IstioTraffic(holding):
                return self.istio[holding]
            case GatewayTraffic(kind):
                return self.gateway[kind]
