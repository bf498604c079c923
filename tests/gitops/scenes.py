"""ModelDeployments as a Kubernetes API would show them, out of the golden scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from modelramp.api.convert import dump_status
from tests.scenarios.player import REF, Player, blocks

SCENARIOS = Path(__file__).parents[1] / "scenarios"


@dataclass
class Recorder(Player):
    """A player that keeps the object after every turn."""

    seen: list[dict[str, Any]] = field(default_factory=list)

    kept: int = 0

    def _turn(self) -> timedelta | None:
        self._keep()
        ahead = super()._turn()
        self._keep()
        return ahead

    def _keep(self) -> None:
        found = self.world.objects.get(REF)
        if found and found.version != self.kept:
            self.kept = found.version
            self.seen.append(self.shown())

    def shown(self) -> dict[str, Any]:
        """Return the object as the API shows it; of the spec what GitOps tools look at."""
        stored = self.object
        metadata = {"name": REF.name, "namespace": REF.namespace, "generation": stored.generation}
        since = stored.deleting_since
        deleting = {} if since is None else {"deletionTimestamp": f"{since:%Y-%m-%dT%H:%M:%SZ}"}
        # The schema's default, which the API server fills in before anybody sees the object.
        status = dump_status(stored.status) or {"observedGeneration": -1}
        return {"metadata": metadata | deleting, "spec": _spec(stored.spec), "status": status}

    def patch(self, change: Mapping[str, Any]) -> None:
        """Apply a merge patch of the spec."""
        changes = dict(change["spec"])
        retry = {"fingerprint": f"1:{self.object.spec.version}:{changes['retry']}"} if "retry" in changes else {}
        self._edit(**changes, **retry)

    def state(self) -> str:
        """Return phase, reason, stable version and the candidate's weight, in one line."""
        status = self.object.status
        stable = status.stable.version if status.stable else "none"
        return f"{status.phase.value} {status.reason}, stable {stable}, candidate {status.weight} %"


def _spec(spec: Any) -> dict[str, Any]:
    given = {key: value for key in ("abort", "approve") if (value := getattr(spec, key)) is not None}
    return {
        "model": {"name": spec.model_name, "version": spec.version},
        "serving": {"keepWarm": spec.serving.keep_warm},
        "paused": spec.paused,
        "retry": spec.retry,
        "traffic": {"configMap": {}},
        **given,
    }


@cache
def recorded(scenario: str) -> tuple[dict[str, Any], ...]:
    """Return every state in which the object was stored in a scenario."""
    path = SCENARIOS / f"{scenario}.txt"
    player = Recorder()
    for _, commands in blocks(path.read_text()):
        for command in commands:
            player.play(command)
    player.loop.close()
    return tuple(player.seen)
