"""python -m cluster.demo: set up, play the story, say what was observed, take everything away."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from cluster.demo import picture, setting, summary
from cluster.demo.acts import play
from cluster.demo.background import Reaper, alone, end_descendants
from cluster.demo.names import CLUSTER, MODEL, NAMESPACE
from cluster.demo.screen import Screen
from cluster.demo.setting import Setting
from cluster.demo.stage import Stage
from cluster.errors import ClusterError, NotPossibleError, SettingError
from cluster.progress import shown_progress
from cluster.settings import REPOSITORY

OK, FAILED, NOT_POSSIBLE, INTERRUPTED = 0, 1, 2, 130
PICTURE = REPOSITORY / ".demo" / "demo.svg"
_SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def main() -> int:
    """Run the demo; 0 only if everything that it says has really happened."""
    keep = _parser().parse_args().keep
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        setting.check_possible()
        with alone() as lock:
            return _run(keep, lock)
    except (NotPossibleError, SettingError) as error:
        return _complain(error, NOT_POSSIBLE)
    except ClusterError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted; everything is taken away", INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster.demo", description="The main job on a whole cluster.")
    parser.add_argument("--keep", action="store_true", help="leave everything running, and say how to reach it")
    return parser


def _run(keep: bool, lock: int) -> int:
    screen, kept = Screen(), False
    reaper = Reaper(CLUSTER, lock)
    try:
        with ExitStack() as running:
            with shown_progress() as progress:
                scene = running.enter_context(setting.prepared(reaper, progress))
            screen.line(f"KUBECONFIG={scene.cluster.kubeconfig}")
            code = _played(scene, screen)
        kept = keep
        if keep:
            _tell_how_to_reach(scene, screen)
        return code
    finally:
        _end(reaper, kept, screen)


def _played(scene: Setting, screen: Screen) -> int:
    stage = Stage(scene, screen)
    try:
        with stage.open(), screen.live():
            play(stage)
    finally:
        rows = summary.rows(stage.acts, stage.load.answers)
        screen.console.print(summary.render(rows, stage.ways, stage.claims))
        if picture.draw(stage.acts, stage.load.answers, PICTURE):
            screen.line(f"drawn: {PICTURE.relative_to(REPOSITORY)}")
    return FAILED if stage.claims.broken else OK


def _end(reaper: Reaper, kept: bool, screen: Screen) -> None:
    """Take everything away unless it is kept; a second Ctrl-C does not stop that."""
    with _uninterrupted():
        end_descendants(spared=reaper.pid)
        if not kept:
            screen.line("taking everything away")
            setting.clear()
        reaper.dismiss()


def _tell_how_to_reach(scene: Setting, screen: Screen) -> None:
    kubectl = f"kubectl --namespace {NAMESPACE} port-forward"
    screen.line(
        f"\nexport KUBECONFIG={shlex.quote(str(scene.cluster.kubeconfig))}\n"
        f"{kubectl} service/mlflow 5000        # http://localhost:5000\n"
        f"{kubectl} service/prometheus 9090    # http://localhost:9090\n"
        f"{kubectl} service/{MODEL} 8080:80    # http://localhost:8080/invocations\n"
        f"python -m cluster down --name {CLUSTER}    # takes everything away"
    )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _complain(what: object, code: int) -> int:
    with suppress(BrokenPipeError):
        print(f"demo: {what}", file=sys.stderr)
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # not sys.exit: a thread that still builds an image must not hold us up
