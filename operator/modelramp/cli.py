"""The command line: `modelramp`, and the same as `kubectl modelramp`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from modelramp import __version__
from modelramp.lean import import_lazily
from modelramp.router.__main__ import add_drain, add_follow, until_told_to_stop
from modelramp.router.journal import log_to_stdout

# Each command imports what it needs: a router's follower has to stay small, `check` needs no cluster.

OK, REFUSED, MISUSED = 0, 1, 2
PIPE_CLOSED = 141
"""What a shell says of a program that SIGPIPE has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 1 when the answer is no, 2 when it was not asked properly."""
    chosen = parser().parse_args(arguments)
    try:
        code = int(chosen.run(chosen))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    prog = "kubectl modelramp" if Path(sys.argv[0]).name == "kubectl-modelramp" else "modelramp"
    top = argparse.ArgumentParser(prog=prog, description="Takes MLflow model versions to production traffic, and back.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_operator(commands)
    _add_router(commands)
    _add_user(commands)
    _add_story(commands)
    return top


def _add_operator(commands: Any) -> None:
    run = commands.add_parser("run", help="run the operator, configured by environment variables")
    run.set_defaults(run=run_operator)
    variables = commands.add_parser("variables", help="list the environment variables of `run`")
    variables.set_defaults(run=print_variables)
    crd = commands.add_parser("crd", help="print the CustomResourceDefinitions, for kubectl apply -f -")
    crd.set_defaults(run=print_crd)


def _add_router(commands: Any) -> None:
    for name, add, text in (
        ("follow", add_follow, "in a router's pod: keep Envoy's files on one ConfigMap"),
        ("drain", add_drain, "in a router's pod: let Envoy finish its requests, then end it"),
    ):
        command = commands.add_parser(name, help=text)
        add(command)
        command.set_defaults(serve=command.get_default("run"), run=serve_router)


def _add_user(commands: Any) -> None:
    check = commands.add_parser("check", help="validate manifests without a cluster")
    check.add_argument("files", nargs="+", metavar="FILE", help="YAML; - for standard input")
    check.set_defaults(run=check_files)
    tell = commands.add_parser("explain", help="say what a ModelDeployment does, why it waits, what comes next")
    _add_object(tell)
    tell.set_defaults(run=explain_object)
    drill = commands.add_parser(
        "drill", help="rehearse a rollback: all traffic to the version before, and at once back"
    )
    _add_object(drill)
    drill.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="default: 300")
    drill.set_defaults(run=rehearse_rollback)


def _add_object(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME")
    command.add_argument("-n", "--namespace", help="default: the kubeconfig's")
    command.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")


def _add_story(commands: Any) -> None:
    for name, text in (
        ("history", "list every decision about a ModelDeployment, from MLflow"),
        ("why", "say why the version that serves serves"),
        ("story", "tell a version's whole life: code, data, gates, steps, rollbacks, how to train it again"),
        ("checklist", "verify the pinned version before production: thirteen lines with their evidence"),
    ):
        command = commands.add_parser(name, help=text)
        _add_object(command)
        if name == "story":
            command.add_argument("version", metavar="VERSION")
        kinds = ("table", "json", "markdown") if name == "checklist" else ("text", "json")
        command.add_argument("-o", "--output", choices=kinds, default=kinds[0])
        usual = os.environ.get("MLFLOW_TRACKING_URI")
        command.add_argument("--mlflow", metavar="URI", default=usual, help="default: $MLFLOW_TRACKING_URI")
        command.set_defaults(run=tell_story, about=name)


def run_operator(_chosen: argparse.Namespace) -> int:
    """Run the operator until it is told to stop; the process ends here, whatever else still runs in it."""
    import_lazily()
    from modelramp.logs import flush_logs, log_json  # noqa: PLC0415
    from modelramp.process import Process  # noqa: PLC0415
    from modelramp.settings import SettingsError, read_settings  # noqa: PLC0415

    try:
        settings = read_settings(os.environ)
    except SettingsError as refused:
        return _complain(str(refused))
    log_json(settings.log_level)

    async def run() -> NoReturn:
        code = await Process(settings).run()
        flush_logs()
        os._exit(code)  # not `return`: threads and connections that hang must not hold up the next leader

    try:
        asyncio.run(run())
    except (OSError, ValueError) as fault:
        return _complain(f"cannot start: {fault}")


def print_variables(_chosen: argparse.Namespace) -> int:
    """Print every variable, what it must be, and its default."""
    from modelramp.settings import VARIABLES, Settings  # noqa: PLC0415

    for field, variable in VARIABLES.items():
        about = Settings.model_fields[field]
        default = "required" if about.is_required() else f"default {about.default or 'none'}"
        print(f"{variable}\n    {about.description} ({default})")
    return OK


def print_crd(_chosen: argparse.Namespace) -> int:
    """Print the CRDs."""
    from modelramp.api.crd import RESOURCES, definition_yaml  # noqa: PLC0415

    print("---\n".join(definition_yaml(each) for each in RESOURCES), end="")
    return OK


def serve_router(chosen: argparse.Namespace) -> int:
    """Run the follower or the drain."""
    import_lazily()
    log_to_stdout()
    return asyncio.run(until_told_to_stop(chosen.serve(chosen)))


def check_files(chosen: argparse.Namespace) -> int:
    """Check every object of ours in the files; print one line for each, and what its floor would be."""
    from modelramp.check import check  # noqa: PLC0415
    from modelramp.foretell import foretell  # noqa: PLC0415

    try:
        results = [result for file in chosen.files for result in check(file, _read(file))]
    except (OSError, UnicodeDecodeError) as fault:
        return _complain(f"cannot read: {fault}")
    for result in results:
        print(result, file=sys.stdout if result.good else sys.stderr)
    for line in foretell(results):
        print(line)
    return OK if all(result.good for result in results) else REFUSED


def _read(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")


def explain_object(chosen: argparse.Namespace) -> int:
    """Read one ModelDeployment and print what it does."""
    from modelramp.inquiry import InquiryError, inquire  # noqa: PLC0415

    try:
        print(asyncio.run(inquire(chosen.name, chosen.namespace, chosen.kubeconfig)), end="")
    except InquiryError as refused:
        print(f"modelramp: {refused}", file=sys.stderr)
        return REFUSED
    return OK


def rehearse_rollback(chosen: argparse.Namespace) -> int:
    """Ask for a drill, wait for its end and print it; 1 where it was refused or did not pass."""
    from modelramp.inquiry import InquiryError  # noqa: PLC0415
    from modelramp.rehearse import rehearse  # noqa: PLC0415

    try:
        told = asyncio.run(rehearse(chosen.name, chosen.namespace, chosen.kubeconfig, chosen.timeout))
    except InquiryError as refused:
        print(f"modelramp: {refused}", file=sys.stderr)
        return REFUSED
    print(told.text, end="")
    return OK if told.good else REFUSED


def tell_story(chosen: argparse.Namespace) -> int:
    """Read a ModelDeployment and its records, and print what is asked; 1 where a line of the checklist fails."""
    from modelramp.inquiry import InquiryError, inquire_story  # noqa: PLC0415

    try:
        told = inquire_story(chosen)
    except InquiryError as refused:
        print(f"modelramp: {refused}", file=sys.stderr)
        return REFUSED
    print(told.text, end="")
    return OK if told.good else REFUSED


def _complain(text: str) -> int:
    for line in text.splitlines():
        print(f"modelramp: {line}", file=sys.stderr)
    return MISUSED


if __name__ == "__main__":
    sys.exit(main())
