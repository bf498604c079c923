"""Everything that the demo says happened, and whether it did."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence, whether it is true, and what was seen."""

    says: str
    holds: bool
    seen: str = ""


@dataclass(slots=True)
class Claims:
    """The one list; the demo fails if any of them does not hold."""

    made: list[Claim] = field(default_factory=list)

    def check(self, says: str, holds: bool, seen: str = "") -> Claim:
        """Add a claim."""
        claim = Claim(says, holds, seen)
        self.made.append(claim)
        return claim

    @property
    def broken(self) -> list[Claim]:
        """Return what did not happen."""
        return [claim for claim in self.made if not claim.holds]
