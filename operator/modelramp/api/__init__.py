"""The API `modelramp.dev/v1alpha1`: pydantic models that the CRD is generated from, and what the core reads.

`python -m modelramp.api` writes the CRD and its reference; with `--check` it fails where they differ.
"""

from modelramp.api.convert import dump_status, find_problems, read_spec, read_status
from modelramp.api.crd import GROUP, KIND, PLURAL, VERSION
from modelramp.api.problem import Problem

__all__ = ["GROUP", "KIND", "PLURAL", "VERSION", "Problem", "dump_status", "find_problems", "read_spec", "read_status"]
