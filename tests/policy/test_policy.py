"""A policy is taken whole or refused with its place; a rule decides every row, or says that it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelramp_policy.document import MOST_RULES, Document, Refused, hash_of, parse
from modelramp_policy.rules import OPEN, Fault, Kind, Policy, compile_rules

COLUMNS = {
    "score": Kind.NUMBER,
    "outputs.prediction": Kind.NUMBER,
    "inputs.amount": Kind.NUMBER,
    "inputs.country": Kind.TEXT,
    "inputs.vip": Kind.TRUTH,
    "inputs.note": Kind.ANY,
    "inputs.petal length (cm)": Kind.NUMBER,
}
REVIEW = "score > policy.threshold ? 'review' : 'accept'"


def text(*rules: str, threshold: object = 0.8) -> str:
    named = "\n".join(f"  r{number}: |\n    {rule}" for number, rule in enumerate(rules))
    return f"thresholds:\n  threshold: {threshold}\nrules:\n{named}\n"


def refused(found: object) -> str:
    assert isinstance(found, Refused), found
    return str(found)


def compiled(*rules: str) -> Policy:
    document = parse(text(*rules))
    assert isinstance(document, Document), document
    policy = compile_rules(document, COLUMNS)
    assert isinstance(policy, Policy), policy
    return policy


def test_the_threshold_decides() -> None:
    policy = compiled(REVIEW)
    assert policy.decide({"score": [0.9, 0.8, 0.1]}, 3) == {"r0": ["review", "accept", "accept"]}


def test_rules_see_inputs_outputs_and_thresholds() -> None:
    policy = compiled(
        "inputs.amount > 1000.0 && inputs.country == 'DE'",
        "outputs.prediction * inputs.amount",
        "inputs.vip ? 'vip' : 'usual'",
        "inputs.note == null ? 'none' : 'some'",
        "inputs['petal length (cm)'] > 1.0",
    )
    columns = {
        "score": [0.5],
        "outputs.prediction": [0.5],
        "inputs.amount": [2000],
        "inputs.country": ["DE"],
        "inputs.vip": [False],
        "inputs.note": [None],
        "inputs.petal length (cm)": [1.5],
    }
    assert policy.decide(columns, 1) == {"r0": [True], "r1": [1000.0], "r2": ["usual"], "r3": ["none"], "r4": [True]}


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("score > policy.threshhold", "undeclared reference to 'policy.threshhold'"),
        ("score > 1.0 ? inputs.amuont > 1.0 : true", "undeclared reference to 'inputs.amuont'"),
        ("inputs['petal'] > 1.0", "undeclared reference to 'inputs.petal'"),
        ("score > 1", "every number is a double: write 1.0 instead of 1"),
        ("score > 'a'", "no matching overload"),
        ("score >", "Syntax error"),
        ("inputs.country + score", "(double, string)"),
        ("[score]", "a text, a number, true or false is wanted"),
        ("open('/etc/passwd')", "undeclared reference to 'open'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_before_it_is_used(rule: str, complaint: str) -> None:
    document = parse(text(REVIEW, rule))
    assert isinstance(document, Document)
    said = refused(compile_rules(document, COLUMNS))
    assert said.startswith("rules.r1: ")
    assert complaint in said or complaint.replace("double, string", "string, double") in said


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("rules:\n  decision: a ? b : c\n", "put the rule in quotes, for it has a colon"),
        ("rules:\n  a: 'true'\n  a: 'false'\n", "a is given twice"),
        ("rules: {}\n", "rules: has 0 entries"),
        ("thresholds:\n  x: .nan\nrules:\n  a: 'true'\n", "thresholds.x: must be a finite number"),
        ("thresholds:\n  x: [1]\nrules:\n  a: 'true'\n", "thresholds.x: must be a finite number"),
        ("thresholds:\n  in: 1\nrules:\n  a: 'true'\n", "'in' is no name"),
        ("rules:\n  a-b: 'true'\n", "'a-b' is no name"),
        ("rules:\n  a: 7\n", "rules.a: must be an expression"),
        ("rules:\n  a: 'true'\nextra: 1\n", "and nothing else"),
        ("", "must be a mapping"),
        ("a: [", "not YAML"),
        ("rules:\n  a: !!python/object/apply:os.system [id]\n", "not YAML"),
        ("rules:\n" + "".join(f"  r{n}: 'true'\n" for n in range(MOST_RULES + 1)), f"1 to {MOST_RULES}"),
        ("#" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_text_that_is_no_policy_is_refused_with_its_place(written: str, complaint: str) -> None:
    assert complaint in refused(parse(written))


def test_a_row_without_a_decision_is_a_fault_that_shows_no_data() -> None:
    policy = compiled("inputs['petal length ' + '(in)'] > 1.0 || inputs.country == 'secret'")
    fault = policy.decide({"inputs.petal length (cm)": [1.0], "inputs.country": ["s3cret"]}, 1)
    assert isinstance(fault, Fault)
    assert str(fault).startswith("rules.r0: ")
    assert "s3cret" not in str(fault)


def test_a_decision_is_never_nan() -> None:
    assert isinstance(compiled("inputs.amount / 0.0").decide({"inputs.amount": [0.0]}, 1), Fault)


def test_without_the_model_names_of_columns_are_taken_as_they_are_but_thresholds_are_known() -> None:
    document = parse(text("outputs.label == 'fraud' && score > policy.threshold"))
    assert isinstance(document, Document)
    assert isinstance(compile_rules(document, OPEN), Policy)
    typo = parse(text("score > policy.treshold"))
    assert isinstance(typo, Document)
    assert "policy.treshold" in refused(compile_rules(typo, OPEN))


@given(st.text(max_size=300))
def test_no_text_is_more_than_read_or_refused(written: str) -> None:
    found = parse(written)
    assert found.hash == hash_of(written)
    if isinstance(found, Document):
        compile_rules(found, COLUMNS)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.floats(-1e6, 1e6))
def test_the_rules_decide_as_python_would(scores: list[float], threshold: float) -> None:
    document = parse(text(REVIEW, threshold=f"{threshold:.6f}"))
    assert isinstance(document, Document)
    policy = compile_rules(document, {"score": Kind.NUMBER})
    assert isinstance(policy, Policy)
    wanted = ["review" if score > float(f"{threshold:.6f}") else "accept" for score in scores]
    assert policy.decide({"score": scores}, len(scores)) == {"r0": wanted}
