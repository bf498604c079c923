"""Each property of the rules in force can fail: a seeded fault is killed by the test that bears its name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

OPERATOR = Path(__file__).parents[2] / "operator"


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
    mutant = MUTANTS[name]
    shutil.copytree(OPERATOR, tmp_path / "operator", ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "operator" / "modelramp_runtime" / mutant.module
    source = target.read_text()
    assert source.count(mutant.original) == 1, f"{mutant.original!r} stands {source.count(mutant.original)} times"
    target.write_text(source.replace(mutant.original, mutant.fault))
    command = (sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "--tb=short")
    chosen = ("-o", f"pythonpath={tmp_path / 'operator'} .", "-k", mutant.killer, "tests/policy/test_in_force.py")
    ran = subprocess.run(
        (*command, *chosen),
        cwd=OPERATOR.parent,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "operator")},
    )
    assert ran.returncode == 1, f"the mutant lives: {ran.stdout[-600:]}"
    assert re.search(r"^E +(AssertionError|assert )", ran.stdout, re.MULTILINE), ran.stdout[-2000:]
