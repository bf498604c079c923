"""The signature: logged, readable, and no break for the clients of the version that serves."""

from __future__ import annotations

from collections.abc import Iterator

from modelramp.rollout.gates.case import Case, fails, passes
from modelramp.rollout.gates.spec import CompatibleWith
from modelramp.rollout.observation import NoData
from modelramp.rollout.signature import compare
from modelramp.rollout.status import GateResult

_SOURCE = "signature in the MLmodel file"


def judge_signature(case: Case) -> Iterator[GateResult]:
    """Judge whether there is a signature, and whether it is compatible with the serving version's."""
    model = case.candidate
    if model.signature_fault:
        yield fails("signature", "SignatureUnreadable", model.signature_fault, source=_SOURCE)
    elif model.signature is not None:
        yield passes("signature", "SignatureLogged", "the model has a signature", source=_SOURCE)
    elif case.gates.signature.required:
        message = "the model has no signature in its MLmodel file; log it with `signature=infer_signature(...)`"
        yield fails("signature", "SignatureMissing", message, source=_SOURCE)
    else:
        yield passes(
            "signature", "SignatureNotRequired", "the model has no signature, and none is required", source=_SOURCE
        )
    if case.gates.signature.compatible_with is CompatibleWith.STABLE and case.stable is not None:
        yield from _compatibility(case)


def _compatibility(case: Case) -> Iterator[GateResult]:
    stable, new = case.stable, case.candidate.signature
    if isinstance(stable, NoData):
        message = f"there is nothing to compare the signature with: {stable.message}"
        yield fails("compatibility", "StableNotFound", message, source=_SOURCE)
        return
    if stable is None or (new is None and _is_refused(case)):  # the gate `signature` has said so
        return
    if stable.signature_fault:
        message = f"version {stable.version}, which serves: {stable.signature_fault}"
        yield fails("compatibility", "SignatureUnreadable", message, source=f"version {stable.version}")
        return
    if stable.signature is None:
        message = f"version {stable.version}, which serves, has no signature"
        yield passes("compatibility", "StableUnsigned", message, source=f"version {stable.version}")
        return
    if new is None:
        message = (
            f"version {stable.version}, which serves, has a signature and the model has none, so that nothing says "
            "what breaks for its clients: log one, or set compatibleWith: None"
        )
        yield fails("compatibility", "CandidateUnsigned", message, source=_SOURCE)
        return
    changes = compare(stable.signature, new)
    breaking = [str(change) for change in changes if change.breaks]
    bound, source = f"compatible with version {stable.version}", f"signature of version {stable.version}"
    if breaking:
        message = f"clients of version {stable.version} would break: {'; '.join(breaking)}"
        yield fails("compatibility", "SignatureIncompatible", message, breaking[0], bound, source)
    else:
        said = "; ".join(map(str, changes)) or "unchanged"
        yield passes("compatibility", "SignatureCompatible", said, said, bound, source)


def _is_refused(case: Case) -> bool:
    return bool(case.candidate.signature_fault) or case.gates.signature.required
