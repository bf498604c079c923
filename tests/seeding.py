"""Seed one fault in a copy of the code, and see whether a test kills it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OPERATOR = Path(__file__).parents[1] / "operator"


def seed(copy: Path, module: str, original: str, fault: str) -> None:
    """Copy the operator's code, and put `fault` in the place of `original`, which must stand once in the module."""
    shutil.copytree(OPERATOR, copy, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copy / module).read_text()
    assert source.count(original) == 1, f"{original!r} stands {source.count(original)} times"
    (copy / module).write_text(source.replace(original, fault))


def kill(copy: Path, suite: str, test: str, **variables: str) -> None:
    """Run a test on the copy. Raises AssertionError where it does not fail by an assertion."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", "--tb=short",
         "-o", f"pythonpath={copy} .", "-k", test, suite],
        cwd=OPERATOR.parent, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(copy)} | variables,
    )  # fmt: skip
    assert ran.returncode == 1, f"the mutant lives: {ran.stdout[-600:]}"
    assert re.search(r"^E +(AssertionError|assert )", ran.stdout, re.MULTILINE), ran.stdout[-2000:]
