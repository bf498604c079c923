"""The rendered ConfigMap: deterministic, safe without its numbers, and read back as it was meant."""

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelramp.router.render import Backend, Breaker, RenderSettings, render_config_map, service_host
from modelramp.router.split import read_split
from modelramp.router.structure import Malformed, Structure, read_structure
from modelramp.router.target import judge_config_map

SEVEN = Backend("7", service_host("default", "fraud-detector", "7"), 8080)
EIGHT = Backend("8", "10.0.0.8", 8080)


def rendered(**changes: object) -> dict[str, str]:
    """Render 7 as stable and 8 at 10 %."""
    wanted = {"stable": "7", "split": {"7": 90, "8": 10}, "mirror": {"8": 25}} | changes
    return render_config_map("default", "fraud-detector", [SEVEN, EIGHT], **wanted)  # type: ignore[arg-type]


def test_the_numbers_are_scalar_keys_for_every_version() -> None:
    data = rendered()
    numbers = {k: v for k, v in data.items() if not k.endswith(".yaml")}
    assert numbers == {"weight.v7": "90", "weight.v8": "10", "mirror.v7": "0", "mirror.v8": "25"}


def test_a_step_of_the_ramp_changes_the_numbers_only() -> None:
    before, after = rendered(), rendered(split={"7": 50, "8": 50}, mirror={})
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"weight.v7", "weight.v8", "mirror.v8"}


def test_the_same_input_gives_the_same_text() -> None:
    assert rendered() == rendered(split={"8": 10, "7": 90})


def test_the_version_of_a_document_follows_its_content() -> None:
    slower = rendered(settings=RenderSettings(request_timeout=60))
    before, after = rendered(), slower
    versions = [yaml.safe_load(d["rds.yaml"])["version_info"] for d in (before, after)]
    assert versions[0] != versions[1]
    assert before["cds.yaml"] == after["cds.yaml"]


def test_without_its_numbers_everything_goes_to_stable() -> None:
    structure_only = {k: v for k, v in rendered().items() if k.endswith(".yaml")}
    target = judge_config_map(structure_only, None).target
    assert target is not None
    assert target.scalars == {"weight.v7": "100", "weight.v8": "0", "mirror.v7": "0", "mirror.v8": "0"}


def test_a_name_is_resolved_and_an_address_is_not() -> None:
    clusters = yaml.safe_load(rendered()["cds.yaml"])["resources"]
    assert [(c["name"], c["type"]) for c in clusters] == [("v7", "STRICT_DNS"), ("v8", "STATIC")]
    host = clusters[0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    assert host["socket_address"]["address"] == "fraud-detector-v7.default.svc.cluster.local"


def test_the_statistics_of_a_version_name_its_namespace_and_object() -> None:
    clusters = yaml.safe_load(rendered()["cds.yaml"])["resources"]
    assert [c["alt_stat_name"] for c in clusters] == ["default_fraud-detector-v7", "default_fraud-detector-v8"]


def test_the_candidate_has_a_breaker_of_its_own() -> None:
    settings = RenderSettings(candidate_breaker=Breaker(max_requests=50))
    clusters = yaml.safe_load(rendered(settings=settings)["cds.yaml"])["resources"]
    limits = {c["name"]: c["circuit_breakers"]["thresholds"][0]["max_requests"] for c in clusters}
    assert limits == {"v7": 4096, "v8": 50}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": {"7": 90}}, r"split: \{'7': 90\} must add up to 100, not 90"),
        ({"split": {"7": 100, "9": 0}}, r"split: \['9'\] have no backend; there are \['7', '8'\]"),
        ({"split": {"7": 110, "8": -10}}, "split: .* must be from 0 to 100"),
        ({"mirror": {"8": 101}}, r"mirror: \{'8': 101\} must be from 0 to 100"),
        ({"stable": "6"}, r"stable: '6' has no backend; there are \['7', '8'\]"),
        ({"stable": None}, "stable: None has no backend"),
    ],
)
def test_input_that_contradicts_itself_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rendered(**changes)


def test_a_version_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="names a version twice"):
        render_config_map("default", "m", [SEVEN, replace(EIGHT, version="7")], stable="7", split={"7": 100}, mirror={})


versions = st.lists(st.integers(1, 999).map(str), min_size=1, max_size=5, unique=True)


@given(versions, st.integers(0, 100), st.integers(0, 100), st.data())
def test_what_was_rendered_is_read_back(names: list[str], share: int, mirrored: int, draw: st.DataObject) -> None:
    stable, candidate = draw.draw(st.sampled_from(names)), draw.draw(st.sampled_from(names))
    split = {stable: 100} if stable == candidate else {stable: 100 - share, candidate: share}
    backends = [Backend(v, f"10.0.0.{i}", 80) for i, v in enumerate(names)]
    data = render_config_map("ns", "m", backends, stable=stable, split=split, mirror={candidate: mirrored})
    structure = read_structure(data)
    assert isinstance(structure, Structure)
    assert (structure.routes.versions, structure.routes.stable) == (tuple(names), stable)
    read = read_split(data, names)
    assert not isinstance(read, Malformed)
    assert {v: w for v, w in read.weights.items() if w} == {v: w for v, w in split.items() if w}
    assert read.mirror[candidate] == mirrored


BROKEN = {
    "empty": ({"rds.yaml": ""}, "rds.yaml is missing or empty"),
    "cut off": ({"rds.yaml": "a: ["}, "rds.yaml is not YAML: did not find expected node content at line 2"),
    "a list": ({"cds.yaml": "[1]"}, "cds.yaml: must be a mapping with a list `resources`"),
    "no routes": ({"rds.yaml": "resources: []"}, "rds.yaml: must hold exactly one resource"),
    "an alias": ({"cds.yaml": "a: &a [1]\nb: *a\nresources: []"}, "cds.yaml: aliases are not allowed"),
    "deep": ({"cds.yaml": "[" * 100_000}, "cds.yaml: is nested deeper than 64 levels"),
    "clusters gone": ({"cds.yaml": "resources: []"}, "rds.yaml: routes to 'v7', which cds.yaml does not have"),
    "unchecked": (
        {"rds.yaml": rendered()["rds.yaml"].replace("validate_clusters: true", "validate_clusters: false")},
        "rds.yaml: validate_clusters must be true",
    ),
    "no default": (
        {"rds.yaml": rendered()["rds.yaml"].replace("weight: 100", "weight: 1")},
        "rds.yaml: one version must have the weight 100",
    ),
    "a date": ({"rds.yaml": "2026-11-23"}, "rds.yaml: must be a mapping"),
    "control characters": ({"rds.yaml": "\x00"}, "rds.yaml is not YAML"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_structure_that_envoy_must_not_see_is_explained(case: str) -> None:
    change, reason = BROKEN[case]
    read = read_structure(rendered() | change)
    assert isinstance(read, Malformed)
    assert read.reason.startswith(reason), read.reason


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_at_all_breaks_the_reader(routes: str, clusters: str) -> None:
    read_structure({"rds.yaml": routes, "cds.yaml": clusters})
    judge_config_map({"rds.yaml": routes, "cds.yaml": clusters, "weight.v7": routes}, None)
