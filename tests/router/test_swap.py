"""The way from one configuration to the next, for any two of them."""

from functools import cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from modelramp.router.render import Backend, render_config_map
from modelramp.router.swap import State, next_step, state_files
from modelramp.router.target import judge_config_map


@cache
def state(names: str, heavy: str, light: str, mirrored: str, port: int) -> State:
    """Return the state of a ConfigMap: 90 % to one version, 10 % to another or the same, all mirrored to one."""
    split = dict.fromkeys(names, 0)
    for version, percent in ((heavy, 90), (light, 10)):
        if version:
            split[version] += percent
    backends = [Backend(v, "10.0.0.1", port) for v in names]
    mirror = {mirrored: 100} if mirrored else {}
    data = render_config_map("ns", "m", backends, stable=heavy or None, split=split, mirror=mirror)
    target = judge_config_map(data, None).target
    assert target is not None
    return target


@st.composite
def states(draw: st.DrawFn) -> State:
    """Draw any state with up to three of four versions."""
    names = draw(st.sampled_from(("", "1", "2", "12", "21", "13", "34", "123", "234", "134")))
    one = st.sampled_from(names or ("",))
    return state(names, draw(one), draw(one), draw(one), draw(st.sampled_from((80, 81))))


def way(begin: State, end: State) -> list[State]:
    """Return all states from the first to the last."""
    steps = [begin]
    while (step := next_step(steps[-1], end)) is not None:
        steps.append(step)
        assert len(steps) <= 10, "the way does not end"
    return steps


def share(of: State) -> dict[str, int]:
    """Return where Envoy sends the traffic: a missing number is the one in the routes, 100 for stable."""
    default = {v: "100" if v == of.routes.stable else "0" for v in of.routes.versions}
    weights = {v: int(of.scalars.get(f"weight.v{v}", default[v])) for v in of.routes.versions}
    return {v: n for v, n in weights.items() if n}


@given(states(), states())
@settings(max_examples=150, deadline=None)
def test_the_way_ends_where_it_should(begin: State, end: State) -> None:
    last = way(begin, end)[-1]
    assert (last.routes.text, last.clusters.text) == (end.routes.text, end.clusters.text)
    assert dict(last.scalars) == dict(end.scalars)


@given(states(), states())
@settings(max_examples=150, deadline=None)
def test_every_state_on_the_way_is_whole(begin: State, end: State) -> None:
    for each in way(begin, end):
        assert each.routes.clusters <= each.clusters.names
        assert sum(share(each).values()) == (100 if each.routes.versions else 0)


@given(states(), states())
@settings(max_examples=150, deadline=None)
def test_traffic_moves_once_from_the_old_split_to_the_new(begin: State, end: State) -> None:
    shares = [share(each) for each in way(begin, end)]
    assert all(s in (share(begin), share(end)) for s in shares)
    moves = sum(a != b for a, b in pairwise(shares))
    assert moves == (share(begin) != share(end))


@given(states(), states())
@settings(max_examples=150, deadline=None)
def test_each_step_changes_one_folder(begin: State, end: State) -> None:
    steps = way(begin, end)
    for before, after in pairwise(steps):
        old, new = state_files(before), state_files(after)
        assert sum(old[folder] != new[folder] for folder in old) == 1


@given(states(), states())
@settings(max_examples=150, deadline=None)
def test_a_split_that_the_routes_already_know_goes_first(begin: State, end: State) -> None:
    steps = way(begin, end)
    known = set(share(end)) <= set(begin.routes.versions) and share(end)
    if known and share(begin) != share(end):
        assert share(steps[1]) == share(end)


@given(states(), states(), states(), st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_the_way_may_be_left_for_another_target_after_any_step(
    begin: State, middle: State, end: State, after: int
) -> None:
    steps = way(begin, middle)
    for each in way(steps[min(after, len(steps) - 1)], end):
        assert each.routes.clusters <= each.clusters.names
        assert sum(share(each).values()) == (100 if each.routes.versions else 0)


@given(states())
def test_where_nothing_changes_there_is_no_step(same: State) -> None:
    assert next_step(same, same) is None
