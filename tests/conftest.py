"""Fixtures of every suite."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.mlflow_server", "tests.controlplane.plugin", "tests.prometheus_server"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the golden scenarios need."""
    parser.addoption("--rewrite", action="store_true", help="write the scenarios' stories as they are told now")


ROOT = Path(__file__).parent
SERVERS = (
    "runtime/",
    "router/",
    "adapters/test_mlflow",
    "adapters/test_prometheus",
    "properties/test_mutants",
    "controlplane/",
)
"""Where tests start a server or a process of their own: a model server, Envoy, MLflow, impostors, pytest itself."""

MARKS = {
    "server": SERVERS,
    "apiserver": ("whole/", "mesh/", "gateway/"),
    "slow": ("mesh/", "gateway/"),
}
LONGEST = "whole/test_crashes"
"""The file that takes minutes: begun last, it would keep one process busy, and the others idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what does not belong to `make test-fast`, and begin with what takes longest."""
    for item in items:
        for mark, places in MARKS.items():
            if _begins(item, places):
                item.add_marker(mark)
    items.sort(key=lambda item: not _begins(item, (LONGEST,)))


def _begins(item: pytest.Item, names: tuple[str, ...]) -> bool:
    return str(item.path.relative_to(ROOT)).startswith(names)
