"""The command line, as people type it."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from modelramp import __version__
from modelramp.adapters.kinds import MODEL_DEPLOYMENT
from modelramp.api.crd import RESOURCES, definition
from modelramp.cli import main
from modelramp.inquiry import InquiryError, Registry
from modelramp.settings import VARIABLES
from tests.loop.live import Namespace, a_model_deployment


def manifest(**changes: object) -> str:
    spec = {"model": {"name": "fraud_detector", "version": "8"}, "traffic": {"configMap": {}}} | changes
    return yaml.safe_dump({**a_model_deployment(), "spec": spec})


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(command in said for command in ("run", "follow", "drain", "crd", "check", "explain", "variables"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"{__version__}\n"


def test_without_a_command_it_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_as_a_plugin_it_calls_itself_what_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-modelramp", "--help"])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith("usage: kubectl modelramp")


def test_crd_prints_every_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crd"]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == [definition(each) for each in RESOURCES]


def test_variables_lists_each_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["variables"]) == 0
    said = capsys.readouterr().out
    assert all(variable in said for variable in VARIABLES.values())
    assert "MLFLOW_TRACKING_URI\n    an MLflow server's http(s) address" in said


def test_a_good_manifest_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fraud.yaml"
    file.write_text(f"kind: ConfigMap\n---\n{manifest()}")
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: fraud-detector: good: version 8 of fraud_detector\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (manifest(model={"name": "fraud_detector", "version": 8.5}), "fraud-detector: spec.model.version: 8.5:"),
        (manifest(model={"name": "fraud_detector_v2_final", "version": "8"}), "'fraud_detector_v2_final' has"),
        (manifest(ramp={"steps": [{"weight": 50}, {"weight": 10}, {"weight": 100}]}), "spec.ramp.steps"),
        (manifest(traffic={}), "spec.traffic"),
        (manifest(shadw={}), "spec.shadw: is no field; did you mean shadow?"),
        (manifest(ramp={"steps": [{"wieght": 100}]}), "spec.ramp.steps[0].wieght: is no field; did you mean weight?"),
        (manifest(serving={"xyz": 1}), "spec.serving.xyz: is no field; there are "),
        (manifest().replace("v1alpha1", "v1"), "apiVersion: 'modelramp.dev/v1' is not served"),
        (manifest().replace("fraud-detector", "fraud-v8"), "metadata.name: fraud-v8: ends like a version"),
        (manifest().replace("fraud-detector", "Fraud_Detector"), "Fraud_Detector: write lower case letters"),
        (manifest().replace("fraud-detector", "f" * 41), "write at most 40 characters"),
        (manifest().replace("name: fraud-detector", "labels: {}"), "metadata.name: write a name"),
        ("kind: Pod", "holds no ModelDeployment and no PromotionPolicy"),
        ("", "holds no ModelDeployment and no PromotionPolicy"),
        ("a: [1,", "is no YAML: line 1, column 7"),
        ("- just\n- a list", "holds no ModelDeployment and no PromotionPolicy"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_field(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["check", "-"]) == 1
    assert said in capsys.readouterr().err


def test_every_mistake_of_a_manifest_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = manifest(
        model={"name": "fraud_v2_final", "version": "007"},
        ramp={"steps": [{"weight": 50}, {"weight": 10}]},
        shadw={},
        guardrails=[{"name": "errors", "query": "up", "maxx": 1}],
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO(text.replace("fraud-detector", "fraud-v8")))
    assert main(["check", "-"]) == 1
    said = capsys.readouterr().err.splitlines()
    told = [line.removeprefix("-: fraud-v8: ").partition(":")[0] for line in said]
    assert told == [
        "metadata.name", "spec.guardrails[0].maxx", "spec.shadw",
        "spec.model.name", "spec.model.version", "spec.ramp.steps", "spec.guardrails[0]",
    ]  # fmt: skip


def test_one_bad_file_among_good_ones_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(manifest())
    bad.write_text(manifest(paused="perhaps"))
    assert main(["check", str(good), str(bad)]) == 1
    assert main(["check", str(good)]) == 0


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "/no/such/file.yaml"]) == 2
    assert "/no/such/file.yaml" in capsys.readouterr().err


def test_run_without_variables_names_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    assert main(["run"]) == 2
    said = capsys.readouterr().err
    assert "modelramp: MLFLOW_TRACKING_URI is not set" in said
    assert "modelramp: MODELRAMP_PROMETHEUS_URL is not set" in said


def test_explain_without_a_kubeconfig_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["explain", "fraud-detector"]) == 1
    assert "set KUBECONFIG" in capsys.readouterr().err
    assert main(["explain", "fraud-detector", "--kubeconfig", "/nowhere/config"]) == 1
    assert capsys.readouterr().err.startswith("modelramp: there is no kubeconfig /nowhere/config: set KUBECONFIG")


@pytest.mark.parametrize(
    ("kubeconfig", "uri", "says"),
    [
        ("users: [{token: hunter2", None, "it is no YAML"),
        (None, "http://mlflow:fivethousand", "must be an http(s) address"),
        (None, "http://[mlflow", "must be an http(s) address"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line(
    kubeconfig: str | None, uri: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kubeconfig:
        (tmp_path / "config").write_text(kubeconfig)
        assert main(["history", "fraud-detector", "--kubeconfig", str(tmp_path / "config")]) == 1
        said = capsys.readouterr().err
        assert says in said
        assert "hunter2" not in said
    else:
        with pytest.raises(InquiryError, match=re.escape(says)):
            Registry(uri)


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    command = [sys.executable, "-m", "modelramp", "crd"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_small_command_imports_neither_kopf_nor_the_registry() -> None:
    script = (
        "import sys, modelramp.cli as cli\ncli.main(['variables'])\n"
        "print({'kopf', 'mlflow', 'kubernetes'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_the_operator_imports_no_synchronous_client_and_no_registry_client() -> None:
    script = (
        "import sys\nfrom modelramp.lean import import_lazily\nimport_lazily()\n"
        "import modelramp.process, kopf, kubernetes\n"
        "print({'mlflow', 'requests', 'oauthlib', 'websocket'} & set(sys.modules))\n"
        "print(kubernetes.aio.client.ApiClient.__name__, kubernetes.client.V1Pod.__name__)\n"
        "print(hasattr(kubernetes, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nApiClient V1Pod\nFalse\n"


@pytest.mark.apiserver
def test_explain_reads_the_object_with_the_users_own_kubeconfig(
    namespace: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace.create(MODEL_DEPLOYMENT, a_model_deployment())
    asked = ["explain", "fraud-detector", "-n", namespace.name, "--kubeconfig", str(namespace.server.kubeconfig)]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"ModelDeployment {namespace.name}/fraud-detector\n")
    assert "the operator has not seen the newest spec yet" in said


@pytest.mark.apiserver
def test_explain_of_what_is_not_there_or_not_allowed(namespace: Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explain", "nothing", "-n", namespace.name, "--kubeconfig"]
    assert main([*asked, str(namespace.server.kubeconfig)]) == 1
    assert f"there is no ModelDeployment nothing in namespace {namespace.name}" in capsys.readouterr().err
    assert main([*asked, str(namespace.server.mint("nobody").kubeconfig)]) == 1
    assert "Forbidden" in capsys.readouterr().err


def test_follow_is_told_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["follow"])
    assert ended.value.code == 2
    assert "--config-map" in capsys.readouterr().err


async def test_drain_without_an_envoy_ends_well() -> None:
    arguments = [sys.executable, "-m", "modelramp", "drain", "--admin", "http://127.0.0.1:9"]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert b"Envoy is away" in said


def test_check_judges_policies_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = "apiVersion: modelramp.dev/v1alpha1\nkind: PromotionPolicy\nmetadata: {name: tier1}\n"
    good, bad, typo = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "typo.yaml"
    good.write_text(f"{head}spec: {{floor: {{ramp: {{firstStep: 5}}}}}}")
    bad.write_text(f"{head}spec: {{floor: {{shadow: {{percent: 5}}}}}}")
    typo.write_text(f"{head}spec: {{flor: {{}}}}")
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: tier1: good: policy tier1\n"
    spec = (
        "{model: {name: fraud, version: '8'}, ramp: {steps: [{weight: 10}, {weight: 100}]}, traffic: {configMap: {}}}"
    )
    deployment = tmp_path / "deployment.yaml"
    deployment.write_text(
        f"apiVersion: modelramp.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: fraud}}\nspec: {spec}"
    )
    assert main(["check", str(deployment), str(good)]) == 0
    raised = f"{deployment}: fraud: policy tier1 asks for more:\n    ramp.firstStep: 5 % instead of 10 %\n"
    assert capsys.readouterr().out.endswith(raised)
    assert main(["check", str(bad), str(typo)]) == 1
    said = capsys.readouterr().err
    assert "spec.floor.shadow: the shadow would end before it began" in said
    assert "spec.flor: is no field; did you mean floor?" in said
