"""One request body to one answer: read, predict, observe, decide, encode. Runs in a prediction thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from modelramp_runtime.answer import Encoded, Outputs, encode, outputs_of
from modelramp_runtime.columns import columns_of, kinds_of
from modelramp_runtime.metrics import OTHER, Arm, Metrics
from modelramp_runtime.model import Input, Model
from modelramp_runtime.policy import Decisions, Example, Rules, decide
from modelramp_runtime.refusal import Kind, RequestError
from modelramp_runtime.settings import NonFinite


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the model said and what the rules made of it; `decisions` is None without a policy."""

    predictions: Any
    outputs: Outputs
    decisions: Decisions | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer's bytes, the policy that decided it, and for the record of shadow requests what it said."""

    body: bytes
    policy: str
    predicted: Predicted


class Request(Protocol):
    """A request body in some protocol: how it is read, how its answer is written."""

    def read(self, model: Model) -> Input:
        """Return the input; raise `RequestError` (400)."""
        ...

    def encode(self, given: Input, predicted: Predicted) -> Encoded:
        """Return the answer; raise `TypeError` or `ValueError` for what JSON cannot hold."""
        ...


@dataclass(frozen=True, slots=True)
class Invocation:
    """A request in MLflow's scoring protocol."""

    media_type: str
    body: bytes

    def read(self, model: Model) -> Input:
        """Return the input."""
        return model.read(self.media_type, self.body)

    def encode(self, given: Input, predicted: Predicted) -> Encoded:
        """Return the answer: what MLflow's server answers, and the decisions beside the predictions."""
        return encode(predicted.predictions, is_bare=given.is_bare, decisions=predicted.decisions)


class Scorer:
    """The model together with what is counted about it and how its odd answers are treated."""

    def __init__(self, model: Model, metrics: Metrics, rules: Rules, non_finite: NonFinite) -> None:
        self.model, self.rules = model, rules
        self._metrics = metrics
        self._non_finite = non_finite
        self._optional = [spec["name"] for spec in model.inputs if "name" in spec and not spec.get("required", True)]

    def score(self, request: Request, arm: Arm) -> Scored:
        """Return the answer to a request, decided by one policy from its beginning to its end.

        Raises `RequestError`: 400 for what does not fit, 500 for the model's own exception (chained, for the log),
        for a rule that fails and for an answer that JSON cannot hold.
        """
        policy = self.rules.current
        given = request.read(self.model)
        started = time.perf_counter()
        try:
            predictions = self._predict(given)
        finally:
            self._metrics.predicted(arm, time.perf_counter() - started)
        outputs = _outputs(predictions)
        counted = self._metrics.observe(arm, outputs)
        decisions = decide(policy, columns_of(given.data, outputs, self._optional)) if policy else None
        predicted = Predicted(predictions, outputs, decisions)
        body = self._answer(request, given, predicted, arm, counted)
        if decisions is not None:
            self._metrics.decided(arm, decisions)
        return Scored(body, policy.hash if policy else "", predicted)

    def rehearse(self, request: Request) -> None:
        """Make one prediction as `score` does, but count it nowhere: its outputs' series begin at zero.

        What it sees is what policies are tried on from now on.
        """
        given = request.read(self.model)
        predictions = self._predict(given)
        outputs = _outputs(predictions)
        self._metrics.expect(outputs)
        self._allow(_encoded(request, given, Predicted(predictions, outputs)).non_finite)
        columns = columns_of(given.data, outputs, self._optional)
        self.rules.learn(Example(columns, kinds_of(columns, self.model.inputs)))

    def _predict(self, given: Input) -> Any:
        try:
            return self.model.predict(given)
        except RequestError:
            raise
        except (Exception, SystemExit) as error:
            raise RequestError(Kind.MODEL, "The model failed on this input.") from error

    def _answer(self, request: Request, given: Input, predicted: Predicted, arm: Arm, counted: int) -> bytes:
        encoded = _encoded(request, given, predicted)
        if encoded.non_finite > counted:
            self._metrics.not_finite(arm, OTHER, encoded.non_finite - counted)
        self._allow(encoded.non_finite)
        return encoded.body

    def _allow(self, non_finite: int) -> None:
        if non_finite and self._non_finite is NonFinite.ERROR:
            raise RequestError(Kind.NON_FINITE, f"The model answered NaN or infinity, {non_finite} times.")


def _outputs(predictions: Any) -> Outputs:
    try:
        return outputs_of(predictions)
    except (ValueError, TypeError) as error:
        raise RequestError(Kind.UNENCODABLE, "The model answered with something that is no table.") from error


def _encoded(request: Request, given: Input, predicted: Predicted) -> Encoded:
    try:
        return request.encode(given, predicted)
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(Kind.UNENCODABLE, "The model answered with something that JSON cannot hold.") from error
