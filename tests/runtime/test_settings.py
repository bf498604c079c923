"""A variable that cannot be used is named, with its value and what would be right."""

from __future__ import annotations

import pytest

from modelramp_runtime.fetch import read_order
from modelramp_runtime.settings import NonFinite, SettingsError, read_settings
from tests.runtime.serving import IDENTITY

ORDER = {"MODEL_SOURCE": "models:/m-0af3", "MODEL_DIGEST": "sha256:" + "0" * 64, "MLFLOW_TRACKING_URI": "http://mlflow"}


def test_the_defaults_serve() -> None:
    settings = read_settings(IDENTITY)
    assert (settings.port, str(settings.model_dir), settings.non_finite) == (8080, "/mnt/model", NonFinite.ERROR)
    assert settings.keepalive_seconds > 3600, "longer than Envoy keeps an idle connection"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODEL_NAME", "", "MODEL_NAME is not set"),
        ("MODEL_VERSION", "latest", "MODEL_VERSION='latest': must be the registry's version number"),
        ("PORT", "http", "PORT='http': must be a whole number from 1 to 65535"),
        ("PORT", "70000", "from 1 to 65535"),
        ("MODELRAMP_THREADS", "0", "MODELRAMP_THREADS='0'"),
        ("MODELRAMP_QUEUE", "-1", "MODELRAMP_QUEUE='-1'"),
        ("MODELRAMP_TIMEOUT_SECONDS", "nan", "MODELRAMP_TIMEOUT_SECONDS='nan': must be seconds"),
        ("MODELRAMP_DRAIN_SECONDS", "5s", "MODELRAMP_DRAIN_SECONDS='5s': must be seconds"),
        ("MODELRAMP_NON_FINITE", "null", "MODELRAMP_NON_FINITE='null': must be one of error, pass"),
        ("MODELRAMP_PREDICTION_BUCKETS", "1,0.5", "must be ascending finite numbers"),
        ("MODELRAMP_LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings({**IDENTITY, name: value})
    assert said in str(error.value)


def test_all_bad_variables_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"MODEL_NAME.*MODEL_VERSION.*PORT"):
        read_settings({"PORT": "x"})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODEL_SOURCE", "", "MODEL_SOURCE is not set"),
        ("MODEL_SOURCE", "models:/fraud_detector@champion", "never an alias"),
        ("MODEL_SOURCE", "models:/fraud_detector/Production", "never an alias or a stage"),
        ("MODEL_SOURCE", "models:/fraud_detector/latest", "never an alias or a stage"),
        ("MODEL_DIGEST", "", "MODEL_DIGEST is not set: must be sha256: and 64 hexadecimal digits"),
        ("MODEL_DIGEST", "sha256:abc", "64 hexadecimal digits"),
        ("MLFLOW_TRACKING_URI", "", "MLFLOW_TRACKING_URI is not set"),
    ],
)
def test_a_fetch_that_is_not_pinned_down_is_refused(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_order({**ORDER, name: value})
    assert said in str(error.value)
