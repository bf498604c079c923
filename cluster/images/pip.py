"""The machine's pip: which command it is, and its settings for builds that must see the same index."""

import ast
import subprocess
import sys
from pathlib import Path

from cluster.processes import exclusive, run
from cluster.settings import cache_directory, log_file

CERTIFICATES = Path("/etc/ssl/certs")
_BUNDLE = CERTIFICATES / "ca-certificates.crt"
# Settings that mean the same inside a build; paths of this machine would not.
_PASSED_ON = "index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "proxy", "retries"


def pip_command() -> list[str]:
    """Return the command of a pip; a Python without one gets a venv under the cache."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [sys.executable, "-m", "pip"]
    home = cache_directory() / "pip-venv"
    with exclusive(cache_directory() / "locks" / "pip-venv"):
        if not (home / "bin" / "pip").exists():
            run([sys.executable, "-m", "venv", "--clear", home], log=log_file("pip-venv"))
    return [str(home / "bin" / "pip")]


def build_settings() -> str:
    """Return a pip.conf for builds: this machine's index and certificates.

    It is mounted as a secret, never copied: it may hold credentials.
    """
    settings = {"disable-pip-version-check": "true", **_machine_settings()}
    if _BUNDLE.exists():
        settings["cert"] = str(_BUNDLE)
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    return f"[global]\n{lines}"


def _machine_settings() -> dict[str, str]:
    return passed_on(run([*pip_command(), "config", "list"]))


def passed_on(listed: str) -> dict[str, str]:
    """Return what builds get of the output of `pip config list`: lines like global.timeout='60'."""
    settings = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    found: dict[str, str] = {}
    # Weakest first, as pip ranks them: files, then the environment.
    for scope in ("global", "install", ":env:"):
        for name in _PASSED_ON:
            if f"{scope}.{name}" in settings:
                value = str(ast.literal_eval(settings[f"{scope}.{name}"]))
                found[name.removeprefix("default-")] = value.strip().replace("\n", "\n  ")
    return found
