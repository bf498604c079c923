"""What one user asked of the API server, counted by the API server itself."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

USER = "modelramp-operator"
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}],
}
_READS = frozenset({"get", "list"})


@dataclass
class Calls:
    """Requests by kind; Leases and the beginnings of watches apart, since they do not grow with the objects."""

    leases: int = 0
    watches: int = 0
    others: Counter[str] = field(default_factory=Counter)
    """By verb and resource, such as `patch configmaps`."""

    @property
    def total(self) -> int:
        """Return how many there were but for Leases and watches."""
        return self.others.total()

    @property
    def writes(self) -> int:
        """Return how many of them change something."""
        return sum(count for what, count in self.others.items() if what.split()[0] not in _READS)

    def count(self, event: dict[str, object]) -> None:
        """Count one line of the audit log: a watch when it begins, everything else when it is answered."""
        resource = event.get("objectRef") or {}
        assert isinstance(resource, dict)
        plural = "/".join(filter(None, (resource.get("resource", "?"), resource.get("subresource", ""))))
        if event["verb"] == "watch":
            self.watches += event["stage"] == "ResponseStarted"
        elif plural == "leases":
            self.leases += 1
        else:
            self.others[f"{event['verb']} {plural}"] += 1


class Audit:
    """The audit log of one API server; give its `options` to the server's start."""

    def __init__(self, directory: Path) -> None:
        """Write the policy that logs the operator's user and nobody else."""
        self._log, policy = directory / "audit.log", directory / "audit-policy.json"
        policy.write_text(json.dumps(_POLICY))
        self.options = {"audit-policy-file": policy, "audit-log-path": self._log, "audit-log-mode": "blocking"}

    def position(self) -> int:
        """Return where the log ends now."""
        return self._log.stat().st_size if self._log.exists() else 0

    def since(self, position: int) -> Calls:
        """Return what was asked after a position."""
        calls = Calls()
        if self._log.exists():
            with self._log.open("rb") as log:
                log.seek(position)
                for line in log:
                    if line.endswith(b"\n"):
                        calls.count(json.loads(line))
        return calls
