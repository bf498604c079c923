"""The story, told once: each act is a fixture that follows on the one before; tests assert what was recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from cluster import NotPossibleError, shown_progress
from cluster.tools.istiod import MISSING
from tests.cluster import acts, disturbances, leftovers, meshed
from tests.cluster.figures import FIGURES, note
from tests.cluster.scene import Scene, chosen_cluster, has_mesh, raised
from tests.cluster.world import MESHED, Recording, World

Act = TypeVar("Act")
_LONGEST = 2400  # seconds: where everything has to be compiled first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(_LONGEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if FIGURES:
        terminalreporter.section("measured on the cluster")
        terminalreporter.write_line("\n".join(FIGURES))


@pytest.fixture(scope="package")
def before() -> leftovers.Machine:
    """Give what was on the machine before."""
    return leftovers.look()


@pytest.fixture(scope="package")
def stage(before: leftovers.Machine, request: pytest.FixtureRequest) -> Iterator[tuple[Scene, ExitStack]]:
    """Give the scene, and what takes it away."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    began = time.time()
    with ExitStack() as stack:
        stack.enter_context(chosen_cluster())
        with capture.global_and_fixture_disabled(), shown_progress() as progress:
            try:
                scene = stack.enter_context(raised(progress))
            except NotPossibleError as error:
                pytest.skip(f"no cluster can be made here: {error}")
        note("set-up, seconds", f"{time.time() - began:.0f}")
        yield scene, stack


@pytest.fixture(scope="package")
def world(stage: tuple[Scene, ExitStack]) -> World:
    """Give the scene, watched."""
    scene, stack = stage
    return stack.enter_context(World(scene).watched())


def _played(act: Callable[[World], Act], world: World) -> Act:
    began = time.time()
    recorded = act(world)
    note(f"act {act.__name__} in {world.place.namespace}, seconds", f"{time.time() - began:.0f}")
    return recorded


@pytest.fixture(scope="package")
def first(world: World) -> acts.First:
    """Version 1."""
    return _played(acts.first_version, world)


@pytest.fixture(scope="package")
def promotion(world: World, first: acts.First) -> Recording:
    """Version 2, promoted."""
    return _played(acts.promotion, world)


@pytest.fixture(scope="package")
def breach(world: World, promotion: Recording) -> acts.Breach:
    """Version 3, which breaks in its ramp."""
    return _played(acts.breach, world)


@pytest.fixture(scope="package")
def pinned_back(world: World, breach: acts.Breach) -> Recording:
    """Back to version 1 by the pin."""
    return _played(acts.back_by_the_pin, world)


@pytest.fixture(scope="package")
def by_hand(world: World, pinned_back: Recording) -> acts.ByHand:
    """Back to version 2 by hand."""
    return _played(acts.back_by_hand, world)


@pytest.fixture(scope="package")
def disturbed(world: World, by_hand: acts.ByHand) -> disturbances.Disturbed:
    """Version 4, promoted against all odds."""
    return _played(disturbances.disturbed_ramp, world)


@pytest.fixture(scope="package")
def router_lost(world: World, disturbed: disturbances.Disturbed) -> disturbances.RouterLost:
    """One router pod less."""
    return _played(disturbances.router_lost, world)


@pytest.fixture(scope="package")
def tampered(world: World, router_lost: disturbances.RouterLost) -> disturbances.Tampered:
    """Version 5, which is not what it was."""
    return _played(disturbances.tampered_artifact, world)


@pytest.fixture(scope="package")
def let_go(world: World, tampered: disturbances.Tampered) -> acts.LetGo:
    """The end of the object; what it owned goes while the next acts play."""
    return _played(acts.let_go, world)


@pytest.fixture(scope="package")
def meshed_world(stage: tuple[Scene, ExitStack], let_go: acts.LetGo) -> World:
    """Give the scene's mesh, watched."""
    scene, stack = stage
    if not has_mesh():
        pytest.skip(MISSING)
    return stack.enter_context(World(scene, MESHED).watched())


@pytest.fixture(scope="package")
def meshed_first(meshed_world: World) -> Recording:
    """Version 1 in the mesh."""
    return _played(meshed.first_version, meshed_world)


@pytest.fixture(scope="package")
def meshed_promotion(meshed_world: World, meshed_first: Recording) -> Recording:
    """Version 2, promoted in the mesh."""
    return _played(meshed.promotion, meshed_world)


@pytest.fixture(scope="package")
def shifts(meshed_world: World, meshed_promotion: Recording) -> meshed.Shifts:
    """To and fro between versions 1 and 2."""
    return _played(meshed.shifts, meshed_world)


@pytest.fixture(scope="package")
def meshed_breach(meshed_world: World, shifts: meshed.Shifts) -> meshed.Breach:
    """Version 3, which breaks in its ramp."""
    return _played(meshed.breach, meshed_world)


@pytest.fixture(scope="package")
def meshed_by_hand(meshed_world: World, meshed_breach: meshed.Breach) -> meshed.ByHand:
    """Version 4, sent back by hand."""
    return _played(meshed.back_by_hand, meshed_world)


@pytest.fixture(scope="package")
def whole(world: World, let_go: acts.LetGo) -> acts.Whole:
    """All of it, from the first request to the last."""
    return _played(acts.whole, world)


@pytest.fixture(scope="package")
def deletion(world: World, let_go: acts.LetGo) -> acts.Deletion:
    """The end of what the object owned."""
    return acts.deletion(world, let_go)


@pytest.fixture(scope="package")
def after(stage: tuple[Scene, ExitStack], deletion: acts.Deletion) -> leftovers.Machine:
    """Take the cluster away, and give what is left."""
    _, stack = stage
    began = time.time()
    stack.close()
    note("down, seconds", f"{time.time() - began:.1f}")
    return leftovers.look()
