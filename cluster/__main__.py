"""python -m cluster up|down|status|build|images|load|exec."""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cluster.errors import ClusterError, NotPossibleError, SettingError
from cluster.images.catalog import DEFAULT_IMAGES, build_images
from cluster.lifecycle import connect, down, load, up
from cluster.progress import shown_progress
from cluster.provider import choose_provider
from cluster.settings import DEFAULT_NAME
from cluster.tools.binaries import BINARIES, build_binaries

_FAILED, _NOT_POSSIBLE = 1, 2


def main() -> int:
    """Run one command; 0 is success, 1 a failure, 2 a machine or a setting that cannot do."""
    # A killed `up` cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _parser().parse_args()
    try:
        action: Callable[[argparse.Namespace], int] = options.action
        return action(options)
    except (NotPossibleError, SettingError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return _NOT_POSSIBLE
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description="A real cluster on one machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, action: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(action=action)
        return command

    images = ", ".join(DEFAULT_IMAGES)
    named = [
        add("up", _up, "Start a cluster and print its kubeconfig's path; one that answers is kept."),
        ending := add("down", _down, "Take a cluster away; a bare node's logs and images stay."),
        add("status", _status, "Say whether a cluster is up, and show its nodes and pods."),
        loading := add("load", _load, f"Build images and bring them into a cluster (default: {images})."),
        executing := add("exec", _exec, "Run a command on the node."),
    ]
    for command in named:
        command.add_argument("--name", default=DEFAULT_NAME, help="which cluster (default: %(default)s)")
    ending.add_argument("--purge", action="store_true", help="remove the node's logs and images too")
    building = add("build", _build, "Compile the pinned programs and build the images.")
    building.add_argument("binaries", nargs="*", metavar="PROGRAM", help="only these programs, no images")
    imaging = add("images", _images, f"Build images and print their archives (default: {images}).")
    for command in (loading, imaging):
        command.add_argument("images", nargs="*", default=DEFAULT_IMAGES, metavar="IMAGE")
    executing.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


def _up(options: argparse.Namespace) -> int:
    with shown_progress() as progress:
        cluster = up(options.name, progress)
    print(cluster.kubeconfig)
    return 0


def _down(options: argparse.Namespace) -> int:
    down(options.name, purge=options.purge)
    return 0


def _status(options: argparse.Namespace) -> int:
    cluster = connect(options.name)
    print(f"{cluster.name} is up; KUBECONFIG={cluster.kubeconfig}")
    print(cluster.kubectl("get", "nodes,pods", "--all-namespaces"), end="")
    return 0


def _build(options: argparse.Namespace) -> int:
    unknown = [name for name in options.binaries if name not in BINARIES]
    if unknown:
        raise SettingError(f"program {unknown[0]!r}: there is {', '.join(BINARIES)}")
    with shown_progress() as progress, ThreadPoolExecutor() as pool:
        images = pool.submit(build_images, () if options.binaries else DEFAULT_IMAGES, progress)
        # kind is built where it is used.
        default = [name for name in BINARIES if name != "kind"]
        binaries = build_binaries(options.binaries or default, progress)
        images.result()
    for path in binaries.values():
        print(path)
    return 0


def _images(options: argparse.Namespace) -> int:
    with shown_progress() as progress:
        images = build_images(options.images, progress)
    for image in images:
        print(image.reference, image.archive)
    return 0


def _load(options: argparse.Namespace) -> int:
    with shown_progress() as progress:
        load(build_images(options.images, progress), options.name, progress)
    return 0


def _exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    inside = choose_provider().inside(command or ["bash"], options.name)
    return subprocess.run(inside, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
