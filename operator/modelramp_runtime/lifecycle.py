"""The server's life: load, listen, try once, serve, drain, end."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import time
from types import FrameType

import uvicorn

from modelramp_runtime.app import ModelServer
from modelramp_runtime.capture_metrics import CaptureMetrics
from modelramp_runtime.comparer import Comparer
from modelramp_runtime.farewell import say_last
from modelramp_runtime.logs import fields
from modelramp_runtime.metrics import Metrics
from modelramp_runtime.model import Model, load_model
from modelramp_runtime.policy import Rules
from modelramp_runtime.scoring import Scorer
from modelramp_runtime.settings import Preload, Settings
from modelramp_runtime.siblings import Siblings
from modelramp_runtime.tracing import start_tracing
from modelramp_runtime.workers import run_workers

LOG = logging.getLogger("modelramp.lifecycle")
ALONE = Siblings()
BACKLOG = 2048


class DrainingServer(uvicorn.Server):
    """A server that on SIGTERM first turns unready, answers on while traffic moves away, and only then closes."""

    def __init__(self, config: uvicorn.Config, server: ModelServer, drain_seconds: float) -> None:
        super().__init__(config)
        self._server, self._drain_seconds = server, drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 a signal handler's signature
        """Begin to drain; on a second signal or SIGINT close at once."""
        is_first = not self._server.is_draining
        self._server.drain()
        LOG.info("draining", extra=fields(signal=signal.Signals(sig).name, seconds=self._drain_seconds))
        if sig == signal.SIGTERM and is_first and self._drain_seconds:
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, self._drain_seconds, self._close)
        else:
            self._close()

    def _close(self) -> None:
        self.should_exit = True


def read_model(settings: Settings, metrics: Metrics) -> Model:
    """Load the model, and note how long that took."""
    started = time.perf_counter()
    model = load_model(settings.model_dir, settings.extra_columns, settings.text_numbers)
    seconds = time.perf_counter() - started
    metrics.loaded(seconds)
    about = {"model": settings.model_name, "version": settings.model_version, "run_id": settings.model_run_id}
    LOG.info("model loaded", extra=fields(**about, flavor=model.flavor, seconds=round(seconds, 3)))
    return model


def make_server(settings: Settings, model: Model, metrics: Metrics, siblings: Siblings = ALONE) -> ModelServer:
    """Put the server together."""
    rules = Rules(settings.policy_dir, settings.policy_kept_dir, metrics)
    # After the fork: its exporter is a thread.
    tracing = start_tracing(os.environ, settings.model_name, settings.model_version)
    scorer = Scorer(model, metrics, rules, settings.non_finite)
    comparer = Comparer(settings, CaptureMetrics(metrics, (settings.model_name, settings.model_version)))
    return ModelServer(settings, scorer, metrics, siblings, tracing, comparer)


def serve(settings: Settings) -> int:
    """Serve the model until the process is told to stop; return the exit status."""
    if settings.workers > 1:
        return _serve_with_workers(settings)
    metrics = Metrics(settings)
    model = _loaded(settings, metrics)
    return model if isinstance(model, int) else _answer(settings, model, metrics)


def _loaded(settings: Settings, metrics: Metrics) -> Model | int:
    """Return the model, or the exit status of a process that cannot load it."""
    try:
        return read_model(settings, metrics)
    except Exception as error:
        LOG.exception("the model cannot be loaded", extra=fields(directory=str(settings.model_dir)))
        return say_last(f"the model in {settings.model_dir} cannot be loaded: {type(error).__name__}: {error}")


def _serve_with_workers(settings: Settings) -> int:
    metrics = Metrics(settings)
    preloaded = _loaded(settings, metrics) if settings.preload is Preload.YES else None
    if isinstance(preloaded, int):
        return preloaded
    try:
        listener = socket.create_server((settings.host, settings.port), family=_family(settings.host), backlog=BACKLOG)
    except OSError as error:
        return say_last(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}")

    def work(siblings: Siblings) -> int:
        model = preloaded or _loaded(settings, metrics)
        return model if isinstance(model, int) else _answer(settings, model, metrics, siblings, listener)

    return run_workers(settings.workers, work)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _answer(
    settings: Settings,
    model: Model,
    metrics: Metrics,
    siblings: Siblings = ALONE,
    listener: socket.socket | None = None,
) -> int:
    """Answer requests until told to stop; return the exit status."""
    server = make_server(settings, model, metrics, siblings)
    config = uvicorn.Config(
        server.app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=settings.keepalive_seconds,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds),
    )
    DrainingServer(config, server, settings.drain_seconds).run(sockets=[listener] if listener else None)
    LOG.info("stopped", extra=fields(left_behind=server.left_behind))
    if server.left_behind:
        # The interpreter would wait for their threads, until it is killed.
        logging.shutdown()
        os._exit(0)
    return 0
