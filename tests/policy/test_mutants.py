"""Each property of the rules in force can fail: a seeded fault is killed by the test that bears its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.seeding import kill, seed


@dataclass(frozen=True)
class Mutant:
    """One fault: in this module of the server, this text becomes that."""

    killer: str
    module: str
    original: str
    fault: str


MUTANTS = {
    "a bad edit leaves no rules at all": Mutant(
        "test_in_force_is", "policy.py", "self.refused = found\n", "self.refused, self.current = found, None\n"
    ),
    "a bad edit is accepted: nothing is tried on the example": Mutant(
        "test_no_bad_edit", "policy.py", "if isinstance(decided, Fault) else policy\n", "if False else policy\n"
    ),
    "what was kept takes the place of the rules in force": Mutant(
        "test_in_force_is", "policy.py", "self.refused and self.current is None and", "self.refused and"
    ),
    "a restart forgets the last good rules": Mutant(
        "test_a_restart", "policy.py", "self.current is None and self._kept and", "False and self._kept and"
    ),
    "a mixed answer: decided by the newest rules, named after the first": Mutant(
        "test_no_answer_is_mixed", "scoring.py", "decide(policy, columns_of", "decide(self.rules.current, columns_of"
    ),
    "a mixed answer: named after the newest rules, decided by the first": Mutant(
        "test_no_answer_is_mixed", "scoring.py", 'policy.hash if policy else ""', "self.rules.hash"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_the_property_kills_its_mutant(name: str, tmp_path: Path) -> None:
    mutant, copy = MUTANTS[name], tmp_path / "operator"
    seed(copy, f"modelramp_runtime/{mutant.module}", mutant.original, mutant.fault)
    kill(copy, "tests/policy/test_in_force.py", mutant.killer)
