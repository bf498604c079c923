"""`python -m modelramp_runtime`: serve one model version."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from modelramp_runtime.farewell import say_last
from modelramp_runtime.logs import write_logs_as_json
from modelramp_runtime.settings import SettingsError, read_settings

# What numpy and MLflow read when they are imported.
DEFAULTS = {
    # Prediction threads each with a pool of their own would fight over the cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
}


def _leave(signum: int, _: object) -> NoReturn:
    raise SystemExit(128 + signum)


def main() -> int:
    """Read the settings, serve until told to stop; return the exit status."""
    # The first process of a container ignores SIGTERM unless it says otherwise; loading a model takes a while.
    signal.signal(signal.SIGTERM, _leave)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        return say_last(str(error))
    write_logs_as_json(settings.log_level)
    from modelramp_runtime.lifecycle import serve  # noqa: PLC0415 imports numpy and MLflow

    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
