"""What the session pool's answers mean: success, which of the pipeline's errors, and how a run ended."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx

from pipeline.errors import PipelineError, PoolFull, PoolUnavailable, SessionLost, SessionReplyError
from pipeline.pool.timeouts import PIECE, with_stall_timeout
from pipeline.pool.transport import never_sent

ANSWER_LIMIT = 1024 * 1024
# What a full pool says with 429, and was seen to say with 500.
FULL_TEXT = "allocating pod"
TIMEOUT_TEXT = "Request timed out waiting for code execution to complete"
DIED_TEXTS = ("Execution aborted", "Kernel restarted")
# What may be quoted of a refusal. Anything else could hold the identifier, or forge a line in a log.
_CODE = re.compile(r"[A-Za-z]{1,80}")


@dataclass(frozen=True)
class Execution:
    """How a run ended. `ok` is the service's word that the code ended without an exception."""

    ok: bool
    stdout: str
    stderr: str


@contextmanager
def map_errors(doing: str) -> Iterator[None]:
    """Turn the HTTP client's errors into the pipeline's. `doing` is the verb, for the message.

    A run that breaks off may have happened or not, and its source may be gone: that session is not asked again.
    """
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError) as error:
        raise _error_from_exception(error, doing) from error


def _error_from_exception(error: Exception, doing: str) -> PipelineError:
    """What went wrong. The client hides what broke off while it was sent, such as a source that changed, in a cause."""
    root: BaseException = error
    while root.__cause__ and not isinstance(root, PipelineError):
        root = root.__cause__
    if isinstance(root, PipelineError):
        return root
    if never_sent(error):
        return _unreachable(error)
    lost = SessionLost if doing == "run" else PoolUnavailable
    return lost(f"{doing}: the session pool broke off ({type(root).__name__})")


def _unreachable(error: Exception) -> PoolUnavailable:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return PoolUnavailable(
            "the session pool's certificate is not one that this machine trusts: correct PIPELINE_POOL_ENDPOINT, or "
            "let SSL_CERT_FILE name a file that holds its authority",
            kind="pool_unreachable",
        )
    return PoolUnavailable(
        "no session pool answers: start it, or correct PIPELINE_POOL_ENDPOINT", kind="pool_unreachable"
    )


def is_retryable(error: Exception, patience: float) -> bool | float:
    """Whether to repeat a call, or after how many seconds. Who asks for more than `patience` is not waited for."""
    if not isinstance(error, PoolUnavailable | PoolFull):
        return False
    after = getattr(error, "retry_after", None)
    return after <= patience and after if after else True


def raw(response: httpx.Response, seconds: float) -> AsyncIterator[bytes]:
    """The body as it comes, steadily. Nothing packed was asked for and nothing is unpacked: a little can hold a lot."""
    if compressed(response):
        raise SessionReplyError("the session pool's answer is compressed, which was not asked for")
    return with_stall_timeout(response.aiter_raw(PIECE), seconds)


def compressed(response: httpx.Response) -> bool:
    """Whether the body would have to be unpacked."""
    coding: str = response.headers.get("Content-Encoding", "identity")
    return coding.strip().lower() != "identity"


async def limited(response: httpx.Response, seconds: float) -> bytes:
    """The body, as far as it stays within bounds and comes steadily (see `steadily` for `seconds`).

    Of a refusal that is compressed the status alone has to do.
    """
    if compressed(response) and not response.is_success:
        return b""
    body = bytearray()
    async for chunk in raw(response, seconds):
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise SessionReplyError(f"the session pool's answer is longer than {ANSWER_LIMIT} bytes")
    return bytes(body)


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object in a body, or {} when it is something else."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        value = {}
    return value if isinstance(value, dict) else {}


def error_from_response(response: httpx.Response, text: bytes, doing: str) -> PipelineError:
    """What an answer other than success means. Of the body only the code is quoted: it may hold the identifier."""
    status, code, message = response.status_code, *_error_code_and_message(text)
    if status == httpx.codes.TOO_MANY_REQUESTS or FULL_TEXT in message:
        return PoolFull("the session pool has no free session")
    if status in (401, 403):
        return PoolUnavailable(
            f"{doing}: the session pool refuses the sign-in (HTTP {status}); the identity needs the role "
            "'Azure ContainerApps Session Executor' on the pool, and PIPELINE_POOL_API_VERSION must be one it serves",
            kind="pool_denied",
        )
    if status == httpx.codes.NOT_FOUND and doing in ("upload", "run"):
        return PoolUnavailable(
            f"{doing}: there is no session pool at PIPELINE_POOL_ENDPOINT (HTTP 404 {code})", kind="pool_not_found"
        )
    if status == httpx.codes.NOT_FOUND:
        return SessionLost(f"{doing}: the session does not have what was there before (HTTP 404 {code})")
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        # The size is within what the service takes, since no setting allows more: it is this session that is full.
        return SessionLost(
            f"{doing}: the session does not take the file (HTTP 413 {code}): its disk is full, or the pool takes less "
            "than PIPELINE_MAX_SOURCE_BYTES allows",
            kind="session_full",
        )
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return PoolUnavailable(f"{doing}: the session pool answers {status}", retry_after=_retry_after(response))
    return SessionReplyError(f"{doing}: the session pool answers {status} {code}".rstrip())


def execution(answer: dict[str, Any]) -> Execution:
    """How a run ended; SessionLost when the session was stopped under it."""
    result = answer.get("result")
    result = result if isinstance(result, dict) else {}
    stdout, stderr = str(result.get("stdout") or ""), str(result.get("stderr") or "")
    ok = str(answer.get("status", "")).lower() in ("succeeded", "success")
    if not ok and TIMEOUT_TEXT in stderr:
        raise SessionLost("the run took too long and was stopped", kind="execution_timeout", stderr_tail=stderr)
    if not ok and any(text in stderr for text in DIED_TEXTS):
        raise SessionLost(
            "the session's interpreter was stopped, which happens when it runs out of memory",
            kind="session_died",
            stderr_tail=stderr,
        )
    return Execution(ok, stdout, stderr)


def _retry_after(response: httpx.Response) -> float | None:
    after = response.headers.get("Retry-After", "")
    return min(float(after), 120.0) if after.isdecimal() else None


def _error_code_and_message(text: bytes) -> tuple[str, str]:
    """Code and message of an error body, in any of the forms that were seen."""
    body = json_object(text)
    error = body.get("error")
    error = error if isinstance(error, dict) else body
    code, message = error.get("code"), error.get("message")
    quoted = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    return quoted, (message if isinstance(message, str) else "")
