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
LONG = ("whole/", "mesh/", "properties/test_mutants")
"""What takes minutes a file: begun first, so that the end is not one process's wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what does not belong to `make test-fast`, and put the long files first."""
    items.sort(key=lambda item: not str(item.path.relative_to(ROOT)).startswith(LONG))
    for item in items:
        if str(item.path.relative_to(ROOT)).startswith(SERVERS):
            item.add_marker("server")
