"""What MLflow's client raises, named: one reason each, no URL, no body, no credential."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from modelramp.rollout.observation import Failed

_LOST = {"SSLError", "ConnectionError", "ProxyError", "ChunkedEncodingError", "ProtocolError"}
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_TIMEOUTS = {"Timeout", "ReadTimeout", "ConnectTimeout", "ReadTimeoutError", "ConnectTimeoutError", "TimeoutError"}
_TOO_MUCH = {"REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}
_LONGEST_CODE = 64  # a status has a bound
_DENIED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}


def address(uri: str) -> str:
    """Return the host and port of a URI, without what may be secret in it."""
    parts = urlsplit(uri)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def absent(error: BaseException) -> bool:
    """Tell whether the registry itself said that there is no such thing; a stray 404 page does not count."""
    return type(error).__name__ == "RestException" and getattr(error, "error_code", "") == _ABSENT


def failure(error: BaseException, where: str) -> Failed:
    """Name the reason why a call to the registry at `where` gave no usable answer."""
    chain = list(_chain(error))
    names = {type(link).__name__ for link in chain}
    if names & _TIMEOUTS:
        return Failed("RegistryTimeout", f"the registry at {where} did not answer in time")
    if statuses := [status for link in chain if (status := _status(link))]:
        return _refused(statuses[0], where)
    if "RetryError" in names:
        return Failed("RegistryError", f"the registry at {where} answered with a server error")
    if names & _LOST:
        why = "has a certificate that is not trusted" if "SSLError" in names else "could not be reached"
        return Failed("RegistryUnreachable", f"the registry at {where} {why}")
    return _unusable(error, where)


def _refused(status: int, where: str) -> Failed:
    if status in {401, 403}:
        return Failed("RegistryDenied", f"the registry at {where} refused our credentials (HTTP {status})")
    if status >= 500 or status == 429:
        return Failed("RegistryError", f"the registry at {where} answered HTTP {status}")
    return Failed("RegistryAnswer", f"the registry at {where} answered HTTP {status} without saying why")


def _unusable(error: BaseException, where: str) -> Failed:
    code = str(getattr(error, "error_code", ""))
    if code in _DENIED:
        return Failed("RegistryDenied", f"the registry at {where} refused our credentials ({code})")
    if type(error).__name__ == "RestException" and code.isidentifier() and len(code) <= _LONGEST_CODE:
        reason = "RegistryRefused" if _is_final(error) else "RegistryError"
        return Failed(reason, f"the registry at {where} refused the question ({code})")
    if isinstance(error, ImportError):
        return Failed("RegistryError", f"this image lacks the artifact store's client (no module {error.name})")
    if isinstance(error, OSError):
        return Failed("RegistryError", f"the files could not be kept here ({error.strerror})")
    return Failed("RegistryAnswer", f"the registry at {where} gave an answer that is not MLflow's")


def _is_final(error: Any) -> bool:
    """Tell whether the same question will be refused again."""
    return 400 <= int(error.get_http_status_code()) < 500 and error.error_code not in _TOO_MUCH


def _status(link: BaseException) -> int | None:
    code = getattr(getattr(link, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what is inside it: causes, contexts, and what urllib3 wraps as an argument."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
