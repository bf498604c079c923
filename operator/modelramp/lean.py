"""Import `kubernetes.aio` without the synchronous client beside it: 19 MB less in every operator and router pod.

`kubernetes/__init__.py` imports both clients with all that they need (requests, oauthlib, google-auth,
cryptography, websocket). Here the package imports each of its parts when it is first asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_EAGER = ("kubernetes", "kubernetes.aio")


def import_lazily() -> None:
    """Make the packages lazy, unless they are imported already. Call it before the first import of either."""
    if not any(name in sys.modules for name in _EAGER):
        for name in _EAGER:
            _make_lazy(name)


def _make_lazy(name: str) -> None:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed, or is no package")
    package = ModuleType(name)
    package.__spec__, package.__file__ = spec, spec.origin
    package.__path__ = list(spec.submodule_search_locations)
    package.__getattr__ = lambda attribute: _part(name, attribute)  # type: ignore[method-assign]
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def _part(package: str, attribute: str) -> Any:
    if not attribute.startswith("__"):
        try:
            return importlib.import_module(f"{package}.{attribute}")
        except ModuleNotFoundError:
            pass
    raise AttributeError(f"module {package!r} has no attribute {attribute!r}")
