"""A value never leaves its string, whatever the value and whatever the query."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from modelramp.rollout.queries import PLACEHOLDERS, backend, problems, render
from modelramp.rollout.spec import ConfigMapTraffic, GatewayKind, GatewayTraffic
from modelramp.rollout.templates import GATEWAY, ISTIO, ROUTER, templates_of
from tests.promql import HOSTILE, Literal, NoPromqlError, Plain, hostile_text, query_text, tokens

SELECTOR = "up{namespace={{namespace}}, version={{ candidate }}}"
VALUES = {name: f"the {name}" for name in PLACEHOLDERS} | {"window": timedelta(seconds=90)}


def plain(text: str) -> list[Plain]:
    return [Plain(character) for character in text if not character.isspace()]


@given(namespace=hostile_text, version=hostile_text)
@example(namespace='"} or vector(1) #', version="\\")
def test_a_hostile_value_stays_in_its_string(namespace: str, version: str) -> None:
    rendered = render(SELECTOR, {"namespace": namespace, "candidate": version})
    assert list(tokens(rendered)) == [
        *plain("up{namespace="), Literal(namespace), *plain(",version="), Literal(version), *plain("}")
    ]  # fmt: skip


@pytest.mark.parametrize("unsafe", [lambda value: f'"{value}"', json.dumps, repr])
def test_the_lexer_catches_quoting_that_is_not_prometheus(unsafe: object) -> None:
    assert callable(unsafe)
    assert any(_read_back(unsafe(value)) != [Literal(value)] for value in [*HOSTILE, "😀"])


def _read_back(query: str) -> list[Literal | Plain] | None:
    try:
        return list(tokens(query))
    except NoPromqlError:
        return None


@given(query=query_text, one=hostile_text, other=hostile_text)
@example(query='a="{{name}} {{name}}', one='"} or vector(1) #', other="x")
@example(query="# it's\nup{a={{name}}} # '", one="'", other="x")
@example(query="up # {{name}}\n", one="\nor vector(1) #", other="x")
@example(query='up # " {{name}} "\n + {{name}}', one='" #', other="x")
def test_a_value_never_changes_the_shape_of_a_query_that_has_no_problems(query: str, one: str, other: str) -> None:
    assume(not list(problems(query)))
    shapes = [_shape(query, value) for value in (one, other)]
    assert shapes[0] == shapes[1]


def _shape(query: str, value: str) -> list[str] | str:
    """Return the characters outside strings, with a mark for each string; or that the query is none."""
    try:
        found = tokens(render(query, dict.fromkeys(PLACEHOLDERS, value) | {"window": timedelta(minutes=1)}))
        return ["a string" if isinstance(token, Literal) else token.character for token in found]
    except NoPromqlError as broken:
        return f"refused: {broken}"


@given(value=hostile_text)
def test_a_placeholder_inside_a_value_is_only_text(value: str) -> None:
    nested = "{{version}}" + value
    assert list(tokens(render("{{name}}", {"name": nested, "version": "8"}))) == [Literal(nested)]


@given(milliseconds=st.integers(1, 10**10))
def test_a_window_is_whole_milliseconds(milliseconds: int) -> None:
    rendered = render("rate(x[{{window}}])", {"window": timedelta(milliseconds=milliseconds)})
    assert rendered == f"rate(x[{milliseconds}ms])"


BY_WHAT = {"the backend": ROUTER, "the service": ISTIO, "the version": GATEWAY}


@pytest.mark.parametrize("name", ROUTER)
@pytest.mark.parametrize("what", BY_WHAT)
def test_a_built_in_query_has_no_problem_and_names_its_version(what: str, name: str) -> None:
    query = BY_WHAT[what][name].query
    assert not list(problems(query))
    literals = {token.text for token in tokens(render(query, VALUES)) if isinstance(token, Literal)}
    assert what in literals
    assert "{{" not in render(query, VALUES)


@pytest.mark.parametrize("name", ROUTER)
def test_a_grpc_service_is_not_judged_by_the_codes_of_http(name: str) -> None:
    http, grpc = (templates_of(GatewayTraffic(kind, "shop"))[name].query for kind in GatewayKind)
    assert "envoy_cluster" in http
    assert "envoy_cluster" not in grpc


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ('up{a="{{name}}"}', '"{{name}}": a placeholder brings its own quotes; write it bare: a={{candidate}}'),
        ("up{a='x-{{name}}'}", "'x-{{name}}': a placeholder brings its own quotes; write it bare: a={{candidate}}"),
        ("up{a=`{{name}}`}", "`{{name}}`: a placeholder brings its own quotes; write it bare: a={{candidate}}"),
        ("up{a={{nam}}}", f"{{{{nam}}}} is no placeholder; there are {', '.join(PLACEHOLDERS)}"),
        ("up{a={{}}}", f"{{{{}}}} is no placeholder; there are {', '.join(PLACEHOLDERS)}"),
        ("up{a=~{{name}}}", "=~ before a placeholder: its value is exact, no regular expression; write = or !="),
        ("up{a!~ {{name}}}", "!~ before a placeholder: its value is exact, no regular expression; write = or !="),
        ("up{a={{name}, b=1}", "{{ at character 6: a placeholder is written such as {{candidate}}"),
        ('up{a="x', '" at character 6: the string does not end on its line'),
        ('up{a="x\n"}', '" at character 6: the string does not end on its line'),
        ("up{a='\ud83d'}", "U+D83D at character 7: half of a surrogate pair is no text"),
    ],
)
def test_a_problem_says_what_to_write(query: str, problem: str) -> None:
    assert next(iter(problems(query))) == problem


@pytest.mark.parametrize(
    "query",
    [
        SELECTOR,
        'up{a="}}", b=~"x|{y}"} # {{whatever}} it\'s a comment',
        'up{a="\\"", b={{name}}}',
        "up{a=`\n`, b={{name}}}",
        'up{a=~"8|9"} > {{window}}',
    ],
)
def test_a_right_query_has_no_problem(query: str) -> None:
    assert list(problems(query)) == []


TRAFFICS = (ConfigMapTraffic(), *(GatewayTraffic(kind, "shop") for kind in GatewayKind))


@given(st.tuples(*(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True) for _ in range(4))))
def test_two_versions_never_share_a_cluster_name(names: tuple[str, str, str, str]) -> None:
    one, other = names[:2], names[2:]
    assume(one != other)
    assert all(backend(*one, "8", traffic) != backend(*other, "8", traffic) for traffic in TRAFFICS)
