"""The example's objects are what their kinds' own definitions allow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.processes import run
from cluster.settings import SOURCE
from cluster.tools.golang import find_go, required_version
from tests.controlplane import ApiServer
from tests.gitops.argocd import EXAMPLE, customizations

MODULE = SOURCE / "tools" / "argocd"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def application_definition() -> Any:
    """Return Argo CD's own, out of its pinned Go module."""
    go = find_go(required_version(MODULE))
    settings = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    said = run([go.command, "mod", "download", "-json", "github.com/argoproj/argo-cd/v3"], cwd=MODULE, env=settings)
    text = (Path(json.loads(said)["Dir"]) / "manifests" / "crds" / "application-crd.yaml").read_text()
    return yaml.load(text, Loader=yaml.CSafeLoader)


def establish(server: ApiServer, definition: Any) -> None:
    name = definition["metadata"]["name"]
    patch = f"{DEFINITIONS}/{name}?fieldManager=test&force=true"
    server.request("PATCH", patch, definition, kind="application/apply-patch+yaml")
    for event in server.watch(f"{DEFINITIONS}?watch=true&timeoutSeconds=20&fieldSelector=metadata.name={name}"):
        conditions = (event["object"].get("status") or {}).get("conditions") or []
        if any((each["type"], each["status"]) == ("Established", "True") for each in conditions):
            return
    raise AssertionError(f"{name} was not established within 20 s")


@pytest.mark.apiserver
def test_argo_cds_own_definition_accepts_the_application_to_the_last_field(api_server: ApiServer) -> None:
    establish(api_server, application_definition())
    application = yaml.safe_load((EXAMPLE / "application.yaml").read_text())
    application["metadata"]["namespace"] = "default"
    path = "/apis/argoproj.io/v1alpha1/namespaces/default/applications?dryRun=All&fieldValidation=Strict"
    accepted = api_server.request("POST", path, application)
    assert accepted["spec"] == application["spec"]


def test_the_customizations_have_the_shape_that_argo_cd_reads() -> None:
    script, actions = customizations()
    assert script.rstrip().endswith("return health")
    assert actions.keys() == {"discovery.lua", "definitions"}
    assert [each.keys() for each in actions["definitions"]] == [{"name", "action.lua"}] * len(actions["definitions"])


def test_flux_waits_longer_than_the_whole_way() -> None:
    flux = yaml.safe_load((EXAMPLE / "flux.yaml").read_text())["spec"]
    spec = yaml.safe_load((EXAMPLE / "shop" / "modeldeployment.yaml").read_text())["spec"]
    hours = [spec["shadow"]["duration"], *(step["hold"] for step in spec["ramp"]["steps"])]
    assert flux["wait"] is True
    assert sum(int(each.removesuffix("h")) for each in hours) < int(flux["timeout"].removesuffix("h"))
