"""The machine's pip: which command it is, and its settings for builds that must see the same index."""

import configparser
import subprocess
import sys
from pathlib import Path

from cluster.processes import exclusive, run
from cluster.settings import cache_directory, log_file

CACHE_IN_BUILD = "/var/cache/pip"
CERTIFICATES = Path("/etc/ssl/certs")
_BUNDLE = CERTIFICATES / "ca-certificates.crt"
# Settings that mean the same inside a build; paths of this machine would not.
_PASSED_ON = "index-url", "extra-index-url", "trusted-host", "timeout", "proxy", "retries"


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
    """Return a pip.conf for builds: this machine's index and certificates, and a cache that outlives the build.

    It is mounted, never copied: it may hold credentials.
    """
    settings = {"disable-pip-version-check": "true", "cache-dir": CACHE_IN_BUILD, **_machine_settings()}
    if _BUNDLE.exists():
        settings["cert"] = str(_BUNDLE)
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    return f"[global]\n{lines}"


def _machine_settings() -> dict[str, str]:
    listed = run([*pip_command(), "config", "list"])
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(f"[all]\n{listed}")
    found: dict[str, str] = {}
    # Weakest first, as pip ranks them: files, then the environment.
    for scope in ("global", "install", ":env:"):
        for name in _PASSED_ON:
            value = parser["all"].get(f"{scope}.{name}")
            if value:
                found[name] = value.strip("'\"").replace("\\n", "\n  ")
    return found
