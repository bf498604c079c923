"""What the real API server accepts, refuses, fills in and shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelramp.api import Problem, dump_status, read_spec, read_status
from modelramp.api.crd import PROMOTION_POLICY
from modelramp.rollout.status import Status
from tests.api.gate_refusals import GATES
from tests.api.objects import LEAST, MOST, changed, parsed
from tests.api.refusals import REFUSALS, Refusal
from tests.api.served import Served, published, table
from tests.api.statuses import statuses
from tests.api.test_spec import PIECES
from tests.api.test_status import ramping

pytestmark = pytest.mark.apiserver

UNCHANGED_BY_ANY_EXAMPLE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
REAL_SERVER = settings(deadline=None, suppress_health_check=UNCHANGED_BY_ANY_EXAMPLE)


def named(name: str, text: str = LEAST, **changes: Any) -> dict[str, Any]:
    return changed(parsed(text), **{"metadata.name": name}, **changes)


class TestWhatIsRefused:
    @pytest.mark.parametrize("refusal", [*REFUSALS, *GATES], ids=lambda each: each.wrong)
    def test_with_a_sentence_that_names_the_field(self, served: Served, refusal: Refusal) -> None:
        answer = served.create(changed(parsed(MOST), **refusal.changes), dry=True)
        assert answer.code == 422
        said = {_with_dots(field): message for field, message in answer.causes}
        assert refusal.words in said[refusal.field]
        # One fault, one sentence.
        assert said.keys() == {refusal.field, *refusal.also}
        assert len(said) == len(answer.causes)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("spec.model.vresion", "9"),
            ("spec.policy.map", "fraud-policy"),
            ("spec.traffic.nginx", {"ingress": "fraud"}),
            ("spec.guardrails[0].treshold", 1),
            ("spec.ramp.steps[0].pause", "1h"),
        ],
    )
    def test_an_unknown_field_by_its_name(self, served: Served, path: str, value: Any) -> None:
        answer = served.create(changed(parsed(MOST), **{path: value}), dry=True)
        assert answer.code == 400
        assert f'unknown field "{path}"' in answer.body["message"]

    def test_many_faults_at_once(self, served: Served) -> None:
        wrong = {"spec.model.version": "v8", "spec.traffic": {}, "spec.shadow.duration": "1d"}
        answer = served.create(changed(parsed(MOST), **wrong), dry=True)
        assert {field for field, _ in answer.causes} == wrong.keys()

    @pytest.mark.parametrize("namespace", ["..", "Prod", "no_such"])
    def test_a_namespace_that_is_none(self, served: Served, namespace: str) -> None:
        answer = served.create(changed(parsed(LEAST), **{"metadata.namespace": namespace}), dry=True)
        assert answer.code in (400, 404)

    def test_another_model(self, served: Served) -> None:
        served.create(named("keeps-its-model"))
        answer = served.merge("keeps-its-model", {"spec": {"model": {"name": "churn"}}})
        assert answer.causes[0][0] == "spec.model.name"
        assert "make a new ModelDeployment for another model" in answer.causes[0][1]

    def test_a_router_that_is_taken_away(self, served: Served) -> None:
        served.create(named("keeps-its-backend"))
        answer = served.merge("keeps-its-backend", {"spec": {"traffic": {"configMap": None}}})
        assert any("the backend cannot be exchanged" in message for _, message in answer.causes)


class TestWhatIsAccepted:
    @pytest.mark.parametrize("text", [LEAST, MOST], ids=["least", "most"])
    def test_as_it_is_documented(self, served: Served, text: str) -> None:
        assert served.create(parsed(text), dry=True).code == 200

    def test_a_way_back_in_one_line(self, served: Served) -> None:
        served.create(named("way-back"))
        assert served.merge("way-back", {"spec": {"model": {"version": "7"}}}).code == 200
        assert served.read("way-back")["spec"]["model"]["version"] == "7"

    def test_wishes_one_by_one(self, served: Served) -> None:
        served.create(named("wishes"))
        for wish in ({"paused": True}, {"abort": "8"}, {"approve": "8/50"}, {"retry": "again"}, {"abort": None}):
            assert served.merge("wishes", {"spec": wish}).code == 200


class TestWhatIsFilledIn:
    def test_the_stored_spec_reads_as_the_written_one(self, served: Served) -> None:
        for text in (LEAST, MOST):
            stored = served.create(parsed(text), dry=True).body
            assert read_spec(stored) == read_spec(parsed(text))

    def test_defaults_can_be_seen(self, served: Served) -> None:
        spec = served.create(parsed(LEAST), dry=True).body["spec"]
        assert [step["weight"] for step in spec["ramp"]["steps"]] == [1, 10, 50, 100]
        signature = {"required": True, "compatibleWith": "Stable"}
        assert spec["gates"] == {"signature": signature, "policy": {"required": False}}
        defaults = {"runtime": "mlflow", "replicas": 1, "keepWarm": 2, "readyDeadline": "10m"}
        assert spec["serving"] == defaults | {"podSecurity": "Restricted"}
        assert spec["traffic"] == {"configMap": {"idempotent": False, "routerReplicas": 2}}
        assert spec["paused"] is False

    def test_a_guardrail_gets_its_defaults(self, served: Served) -> None:
        rail = {"name": "errors", "template": "error-rate", "max": 0.01}
        stored = served.create(changed(parsed(LEAST), **{"spec.guardrails": [rail]}), dry=True).body
        assert stored["spec"]["guardrails"][0] == rail | {
            "tolerance": 1.2,
            "interval": "15s",
            "window": "1m",
            "failureLimit": {"count": 1, "mode": "Consecutive"},
            "onNoData": "Hold",
            "noDataDeadline": "5m",
            "minPasses": 3,
        }

    def test_a_new_object_does_not_look_finished(self, served: Served) -> None:
        created = served.create(named("brand-new")).body
        assert created["status"] == {"observedGeneration": -1}
        assert read_status(created) == Status()


class TestTheStatus:
    def test_is_not_the_user_s_to_write_with_the_spec(self, served: Served) -> None:
        created = served.create(named("honest", status={"phase": "Promoted"})).body
        assert created["status"] == {"observedGeneration": -1}

    def test_comes_back_whole(self, served: Served) -> None:
        served.create(named("remembers"))
        assert served.write_status("remembers", dump_status(ramping())).code == 200
        stored = served.read("remembers")
        assert stored["status"] == dump_status(ramping())
        assert read_status(stored) == ramping()
        assert stored["metadata"]["generation"] == 1

    @given(status=statuses)
    @settings(REAL_SERVER, max_examples=40)
    def test_comes_back_whole_whatever_it_is(self, served: Served, status: Status) -> None:
        served.create(named("remembers-all"))
        answer = served.write_status("remembers-all", dump_status(status))
        assert answer.code == 200, answer.body
        assert read_status(served.read("remembers-all")) == status

    def test_fills_the_line_that_people_look_at(self, served: Served) -> None:
        served.create(named("shown"))
        served.write_status("shown", dump_status(ramping()))
        (row,) = (row for row in table(served) if row["NAME"] == "shown")
        assert re.fullmatch(r"\d+s", row.pop("AGE"))
        assert row == {
            "NAME": "shown",
            "PHASE": "Ramping",
            "STABLE": "7",
            "CANDIDATE": "8",
            "WEIGHT": 10,
            "STEP": "2/4",
            "REASON": "Holding",
            "MODEL": "fraud_detector",
            "PIN": "8",
            "MESSAGE": "v8 has 10 % for another 12m",
        }


class TestWhatIsPublished:
    def test_every_field_explains_itself(self, served: Served) -> None:
        fields = list(_published(published(served.server)["properties"]["spec"], "spec"))
        assert len(fields) > 60
        assert [path for path, field in fields if not field.get("description")] == []

    def test_the_short_names(self, served: Served) -> None:
        found = served.server.request("GET", "/apis/modelramp.dev/v1alpha1")["resources"]
        names = {each["name"]: each.get("shortNames") for each in found}
        short = PROMOTION_POLICY.short
        assert names == {"modeldeployments": ["mdep"], "modeldeployments/status": None, "promotionpolicies": [short]}
        assert {each["name"]: each["namespaced"] for each in found}["promotionpolicies"] is False
        assert all(each["categories"] == ["modelramp"] for each in found if each.get("shortNames"))


def _with_dots(path: str) -> str:
    return re.sub(r"\[([a-z]\w*)\]", r".\1", path)


def _published(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from _published(field.get("items", field), f"{path}.{name}")


durations = st.from_regex(r"([0-9]{1,3}(h|m|s|ms|d|)){1,3}", fullmatch=True) | st.sampled_from(["", "0s", "5m\n", "٣s"])
names = st.lists(
    st.sampled_from(["fraud", "v2", "V2", "final", "new", "_", "-", ".", " ", "2024", "01", "old", "\n", "é", "8"]),
    min_size=1,
    max_size=5,
).map("".join)
numbers = st.none() | st.sampled_from([-1, 0, 0.5, 1, 2])
given_or_not = st.booleans()
rails = st.fixed_dictionaries(
    {"name": st.sampled_from(["errors", "e", "E", "-e", "e\n", "a.b"])},
    optional={
        "template": st.sampled_from(["error-rate", "latency-p99", "other"]),
        "query": st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join),
        "min": st.sampled_from([-1, 0, 0.5, 2]),
        "max": st.sampled_from([-1, 0, 0.5, 2]),
        "maxDuration": durations,
        "compare": st.sampled_from(["Stable", "stable"]),
        "interval": durations,
        "window": durations,
        "slack": st.sampled_from([-1, 0, 0.5]),
    },
)
changes = st.one_of(
    st.builds(lambda name: {"spec.model.name": name}, names),
    st.builds(lambda version: {"spec.model.version": version}, st.text("0123v\n٣", max_size=11)),
    st.builds(lambda hold: {"spec.ramp.steps[0].hold": hold}, durations),
    st.builds(lambda approval: {"spec.approve": approval}, st.text("8/150\n", max_size=6)),
    st.builds(lambda amount: {"spec.serving.resources.limits.cpu": amount}, st.text("15.emM-\n", max_size=5)),
    st.builds(lambda image: {"spec.serving.image": image}, st.text("a: \n", max_size=4)),
    st.builds(lambda secret: {"spec.serving.registrySecret.name": secret}, st.text("aZ.-/\n", max_size=5)),
    st.builds(
        lambda weights: {"spec.ramp.steps": [{"weight": weight} for weight in weights]},
        st.lists(st.sampled_from([0, 1, 50, 100, 101]), max_size=4),
    ),
    st.builds(lambda rail: {"spec.guardrails": [rail]}, rails),
    st.builds(lambda rail: {"spec.guardrails": [rail]}, rails),
)


@given(change=changes)
@settings(REAL_SERVER, max_examples=200)
def test_the_operator_and_the_api_server_agree(served: Served, change: dict[str, Any]) -> None:
    body = changed(parsed(MOST), **change)
    answer = served.create(body, dry=True)
    assert answer.code in (200, 422)
    assert isinstance(read_spec(body), Problem) == (answer.code == 422), answer.causes
