"""One request body to one answer: read, predict, observe, encode. Runs in a prediction thread."""

from __future__ import annotations

import time
from typing import Any

from modelramp_runtime.answer import Encoded, Outputs, encode, outputs_of
from modelramp_runtime.metrics import OTHER, Arm, Metrics
from modelramp_runtime.model import Input, Model
from modelramp_runtime.refusal import Kind, RequestError
from modelramp_runtime.settings import NonFinite


class Scorer:
    """The model together with what is counted about it and how its odd answers are treated."""

    def __init__(self, model: Model, metrics: Metrics, non_finite: NonFinite) -> None:
        self.model = model
        self._metrics = metrics
        self._non_finite = non_finite

    def score(self, media_type: str, body: bytes, arm: Arm) -> bytes:
        """Return the JSON answer to a request body.

        Raises `RequestError`: 400 for what does not fit, 500 for the model's own exception (chained, for the log)
        and for an answer that JSON cannot hold.
        """
        given = self.model.read(media_type, body)
        started = time.perf_counter()
        try:
            predictions = self._predict(given)
        finally:
            self._metrics.predicted(arm, time.perf_counter() - started)
        return self._answer(predictions, given, arm)

    def rehearse(self, media_type: str, body: bytes) -> None:
        """Make one prediction as `score` does, but count it nowhere: its outputs' series begin at zero."""
        given = self.model.read(media_type, body)
        predictions = self._predict(given)
        self._metrics.expect(_outputs(predictions))
        self._allow(_encoded(predictions, given).non_finite)

    def _predict(self, given: Input) -> Any:
        try:
            return self.model.predict(given)
        except RequestError:
            raise
        except (Exception, SystemExit) as error:
            raise RequestError(Kind.MODEL, "The model failed on this input.") from error

    def _answer(self, predictions: Any, given: Input, arm: Arm) -> bytes:
        """Return the answer's bytes; every answer passes here, so a policy on outputs belongs here."""
        counted = self._metrics.observe(arm, _outputs(predictions))
        encoded = _encoded(predictions, given)
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


def _encoded(predictions: Any, given: Input) -> Encoded:
    try:
        return encode(predictions, is_bare=given.is_bare)
    except (ValueError, TypeError, RecursionError) as error:
        raise RequestError(Kind.UNENCODABLE, "The model answered with something that JSON cannot hold.") from error
