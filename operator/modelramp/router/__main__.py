"""Run the follower or the drain: `python -m modelramp.router follow|drain`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from modelramp.router.drain import DrainSettings, drain
from modelramp.router.follow import FollowSettings, follow
from modelramp.router.journal import log_to_stdout, note
from modelramp.router.watch import ACCOUNT, WatchSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    arguments = parser().parse_args(argv)
    log_to_stdout()
    return asyncio.run(until_told_to_stop(arguments.run(arguments)))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="modelramp", description="The router's side of a ModelDeployment.")
    commands = top.add_subparsers(required=True)
    add_follow(commands.add_parser("follow", help="keep Envoy's files on one ConfigMap"))
    add_drain(commands.add_parser("drain", help="let Envoy finish its requests, then end it"))
    return top


def add_follow(command: argparse.ArgumentParser) -> None:
    """Add the options of `follow`."""
    command.add_argument("--namespace", required=True)
    command.add_argument("--config-map", required=True)
    command.add_argument("--directory", type=Path, default=Path("/etc/modelramp"))
    command.add_argument("--admin", default="http://127.0.0.1:9900", help="Envoy's admin address")
    command.add_argument("--once", action="store_true", help="write the first files, before Envoy starts, and end")
    command.add_argument("--server", default=api_server(), help="API server's address")
    command.add_argument("--token", type=Path, default=ACCOUNT / "token", help="file with the bearer token")
    command.add_argument("--certificate", type=Path, default=ACCOUNT / "ca.crt", help="file with its CA")
    command.add_argument("--watch-seconds", type=int, default=30, help="list again after so long (default 30)")
    command.set_defaults(run=run_follow)


def api_server() -> str:
    """Return the API server's address as the pod was told it: no DNS needed."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def add_drain(command: argparse.ArgumentParser) -> None:
    """Add the options of `drain`."""
    command.add_argument("--admin", default="http://127.0.0.1:9900", help="Envoy's admin address")
    command.add_argument("--settle", type=float, default=5.0, help="seconds to go on answering at least")
    command.add_argument("--deadline", type=float, default=40.0, help="seconds to wait at most")
    command.set_defaults(run=run_drain)


async def run_follow(arguments: argparse.Namespace) -> int:
    """Follow until told to stop."""
    watch = WatchSettings(
        namespace=arguments.namespace,
        config_map=arguments.config_map,
        server=arguments.server,
        token=arguments.token,
        certificate=arguments.certificate,
        watch_seconds=arguments.watch_seconds,
    )
    await follow(FollowSettings(watch, arguments.directory, arguments.admin, arguments.once))
    return 0


async def run_drain(arguments: argparse.Namespace) -> int:
    """Drain within the deadline; a late one is logged, and no reason to fail the pod's end."""
    await drain(DrainSettings(admin=arguments.admin, settle=arguments.settle, deadline=arguments.deadline))
    return 0


async def until_told_to_stop(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end, or until SIGTERM or SIGINT; both are a good end."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        note("stopped")
        return 0


if __name__ == "__main__":
    sys.exit(main())
