"""The HTTP side: MLflow's scoring protocol, honest statuses, readiness, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from modelramp_runtime.admission import Admission
from modelramp_runtime.capture_routes import add_capture_route
from modelramp_runtime.comparer import Comparer
from modelramp_runtime.inference import Inference
from modelramp_runtime.inference_routes import add_inference_routes
from modelramp_runtime.logs import fields
from modelramp_runtime.metrics import Arm, Metrics
from modelramp_runtime.operation_routes import add_operation_routes, standing
from modelramp_runtime.payload import read_media_type
from modelramp_runtime.policy import LOOK_EVERY
from modelramp_runtime.readiness import NoTrialError, Phase, Readiness, read_trial
from modelramp_runtime.refusal import Kind, RequestError
from modelramp_runtime.scoring import Invocation, Scored, Scorer
from modelramp_runtime.settings import LogRequests, Settings
from modelramp_runtime.siblings import Question, Siblings
from modelramp_runtime.tracing import Tracing

LOG = logging.getLogger("modelramp.server")
JSON = "application/json"
_BINARY = "inference-header-content-length"
_REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.{0,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request's headers say about where it comes from."""

    request_id: str
    traceparent: str | None
    arm: Arm

    @classmethod
    def read(cls, headers: Headers) -> Caller:
        """Return the caller; an absent or unusable request id is replaced by a new one."""
        request_id = headers.get("x-request-id", "")
        traceparent = headers.get("traceparent", "")
        return cls(
            request_id if _REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex,
            traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
            next((arm for arm in Arm if headers.get("x-modelramp-arm") == arm), Arm.LIVE),
        )

    def told(self, **more: object) -> dict[str, dict[str, object]]:
        """Return what a line of the log says about the caller, and more."""
        return fields(request_id=self.request_id, traceparent=self.traceparent, arm=self.arm, **more)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one request, before it is HTTP."""

    status: int
    body: bytes
    policy: str
    kind: Kind | None = None


class ModelServer:
    """One model version behind HTTP. `app` is the ASGI application."""

    def __init__(
        self,
        settings: Settings,
        scorer: Scorer,
        metrics: Metrics,
        siblings: Siblings,
        tracing: Tracing,
        comparer: Comparer,
    ) -> None:
        self.settings, self._scorer, self._metrics, self.siblings = settings, scorer, metrics, siblings
        self._tracing, self._comparer = tracing, comparer
        self._admission = Admission(settings.threads, settings.queue)
        self._readiness = Readiness()
        self._identity = {
            "X-Model-Name": quote(settings.model_name, safe=" ~!*'()"),
            "X-Model-Version": settings.model_version,
        }
        self.app = FastAPI(lifespan=self._live, openapi_url=None, docs_url=None, redoc_url=None)
        self.app.add_route("/invocations", self.invoke, methods=["POST"])
        self.model = scorer.model
        add_operation_routes(self.app, self)
        add_inference_routes(self.app, self)
        if settings.capture_percent:
            add_capture_route(self.app, self, settings.model_version)
        self.app.add_exception_handler(HTTPException, _not_served)

    @property
    def is_draining(self) -> bool:
        """Whether the server is going away."""
        return self._readiness.phase is Phase.DRAINING

    @property
    def left_behind(self) -> int:
        """How many predictions are still running; a thread cannot be interrupted."""
        return self._admission.running

    def drain(self) -> None:
        """Turn unready for good and ask callers to come back on another connection."""
        self._readiness.draining()

    @contextlib.asynccontextmanager
    async def _live(self, _: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._try_once()), asyncio.create_task(self._scorer.rules.follow())]
        try:
            async with self.siblings.answering(self.tell), self._comparer.running():
                yield
        finally:
            for task in tasks:
                task.cancel()
            self._admission.close()
            await asyncio.to_thread(self._tracing.close)

    async def _try_once(self) -> None:
        """Make the first prediction; readiness hangs on it."""
        try:
            trial = read_trial(self.settings.model_dir, list(self._scorer.model.inputs))
            LOG.info("trying the first prediction", extra=fields(source=trial.source))
            await asyncio.to_thread(self._scorer.rehearse, Invocation(trial.media_type, trial.body))
            await self._first_policy()
        except NoTrialError as error:
            self._give_up(str(error))
        except RequestError as refused:
            cause = refused.__cause__
            because = f" ({type(cause).__name__}; the log has the trace)" if cause else ""
            self._give_up(f"the first prediction, from the {trial.source}, failed: {refused.message}{because}", cause)
        except Exception as error:  # noqa: BLE001 whatever it is, the server is not ready and says why
            self._give_up(f"the first prediction failed: {type(error).__name__}", error)
        else:
            self._readiness.passed(trial.source)
            LOG.info("ready", extra=fields(reason=self._readiness.reason))

    async def _first_policy(self) -> None:
        """Wait for rules that can be used: without them no answer would be decided as it must be."""
        rules = self._scorer.rules
        while rules.is_wanted and rules.current is None:
            self._readiness.waits(f"the policy cannot be used: {rules.refused}")
            await asyncio.sleep(LOOK_EVERY)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that name what answers: the model, its version, the policy in force."""
        return self._answer_headers(self._scorer.rules.hash)

    def _answer_headers(self, policy: str) -> dict[str, str]:
        return {**self._identity, "X-Policy-Hash": policy} if policy else dict(self._identity)

    def _give_up(self, reason: str, error: BaseException | None = None) -> None:
        self._readiness.failed(reason)
        LOG.error("not ready: %s", reason, exc_info=error)

    def tell(self, question: Question, about: Iterable[str] = ()) -> Any:
        """Return what this worker has to say to the others, as JSON has it."""
        if question is Question.METRICS:
            return self._metrics.told()
        if question is Question.CAPTURED:
            return self._comparer.captures.told(about)
        phase, reason = self._readiness.phase, self._readiness.reason
        is_ready = phase is Phase.READY and not self._admission.is_stuck
        if phase is Phase.READY and not is_ready:
            reason = "every prediction thread is held by a request past its deadline"
        return {"ready": is_ready, "phase": phase, "reason": reason, "policy": self._scorer.rules.state()}

    async def is_ready(self) -> bool:
        """Tell whether requests are to come, to any worker."""
        return bool((await standing(self))["ready"])

    async def invoke(self, request: Request) -> Response:
        """Answer a request for predictions, in whichever protocol its path is of."""
        started = time.perf_counter()
        caller = Caller.read(request.headers)
        self._metrics.arrived(caller.arm)
        about = {"modelramp.model": self.settings.model_name, "modelramp.version": self.settings.model_version}
        with self._tracing.request(request.url.path, request.headers, **about, **{"modelramp.arm": caller.arm}) as span:
            outcome = await self._outcome(request, caller, started)
            span.end(outcome.status, outcome.policy, outcome.kind)
        seconds = time.perf_counter() - started
        self._metrics.answered(caller.arm, outcome.status, seconds, len(outcome.body))
        self._log_answer(caller, outcome, seconds)
        headers = {**self._answer_headers(outcome.policy), "X-Request-Id": caller.request_id}
        if outcome.kind is Kind.OVERLOADED:
            headers["Retry-After"] = "1"
        if self.is_draining or outcome.kind in (Kind.TOO_LARGE, Kind.SLOW_BODY):
            headers["Connection"] = "close"
        return Response(outcome.body, outcome.status, headers, JSON)

    async def _outcome(self, request: Request, caller: Caller, started: float) -> Outcome:
        try:
            scored = await self._predict(request, caller, started)
            return Outcome(200, scored.body, scored.policy)
        except RequestError as refused:
            return self._refusal(refused, caller, request)
        except Exception as error:  # noqa: BLE001 a fault of the server itself is an answer too
            fault = RequestError(Kind.INTERNAL, "The server failed on this request.")
            fault.__cause__ = error
            return self._refusal(fault, caller, request)

    async def _predict(self, request: Request, caller: Caller, started: float) -> Scored:
        media_type = JSON if _is_inference(request) else read_media_type(request.headers.get("content-type"))
        if _BINARY in request.headers:
            raise RequestError(Kind.MEDIA_TYPE, "Binary tensors are not supported; send their data as JSON.")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RequestError(Kind.MEDIA_TYPE, "A Content-Encoding is not supported; send the body as it is.")
        body = await self._read_body(request)
        self._metrics.received(caller.arm, len(body))
        left = self.settings.timeout_seconds - (time.perf_counter() - started)
        scored = await self._admission.run(
            lambda: self._scorer.score(self._asked(request, media_type, body), caller.arm), left
        )
        self._comparer.captures.offer(caller.request_id, caller.arm, body, scored)
        return scored

    def _asked(self, request: Request, media_type: str, body: bytes) -> Invocation | Inference:
        if _is_inference(request):
            return Inference.parse(self.settings.model_name, self.settings.model_version, body)
        return Invocation(media_type, body)

    async def _read_body(self, request: Request) -> bytes:
        limit = self.settings.max_body_bytes
        too_large = RequestError(Kind.TOO_LARGE, f"The body is larger than {limit} bytes.")
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise RequestError(Kind.SLOW_BODY, "The body did not arrive in time.") from None
        except ClientDisconnect:
            raise RequestError(Kind.DISCONNECTED, "The caller went away.") from None
        return bytes(body)

    def _refusal(self, refused: RequestError, caller: Caller, request: Request) -> Outcome:
        self._metrics.refused(caller.arm, refused.kind)
        answer: dict[str, object] = {
            "error_code": refused.error_code,
            "message": refused.message,
            "kind": refused.kind,
            "request_id": caller.request_id,
        }
        if _is_inference(request):
            answer["error"] = refused.message
        if refused.violations:
            answer["violations"] = [
                {"column": v.column, "row": v.row, "problem": v.problem} for v in refused.violations
            ]
        if refused.status >= 500:
            answer["error_id"] = uuid.uuid4().hex[:12]
        about = caller.told(kind=refused.kind, error_id=answer.get("error_id"))
        if refused.status >= 500:
            LOG.error(refused.message, extra=about, exc_info=refused.__cause__)
        else:
            # Without the cause: where MLflow or pandas raised it, it quotes the row.
            LOG.info(refused.message, extra=about)
        return Outcome(refused.status, json.dumps(answer).encode(), self._scorer.rules.hash, refused.kind)

    def _log_answer(self, caller: Caller, outcome: Outcome, seconds: float) -> None:
        if self.settings.log_requests is LogRequests.ALL:
            LOG.info("answered", extra=caller.told(code=outcome.status, seconds=round(seconds, 6)))


def _is_inference(request: Request) -> bool:
    return request.url.path.startswith("/v2/")


async def _not_served(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = {404: "There is nothing at this path.", 405: "This path does not take this method."}
    codes = {404: "ENDPOINT_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
    body = {"error_code": codes.get(status, "BAD_REQUEST"), "message": message.get(status, "Bad request.")}
    return Response(json.dumps(body), status, getattr(error, "headers", None), JSON)
