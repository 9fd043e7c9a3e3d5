"""Map the session pool's responses to results of executions and to the pipeline's errors."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx

from pipeline.errors import PipelineError, PoolFull, PoolUnavailable, SessionLost, SessionReplyError
from pipeline.http_connections import parse_retry_after
from pipeline.pool.timeouts import CHUNK_BYTES, with_stall_timeout
from pipeline.pool.transport import never_sent

MAX_RESPONSE_BYTES = 1024 * 1024
# Part of a full pool's message, with status 429 and, as observed, 500.
FULL_TEXT = "allocating pod"
TIMEOUT_TEXT = "Request timed out waiting for code execution to complete"
DIED_TEXTS = ("Execution aborted", "Kernel restarted")
# Error codes for a session that does not exist.
SESSION_NOT_FOUND_CODES = ("NoSessionFound", "NoSessionFoundError", "SessionNotFound", "SessionWithIdentifierNotFound")
# Only an error code of this form is quoted: any other text could hold the identifier or forge a log line.
_CODE = re.compile(r"[A-Za-z]{1,80}")


@dataclass(frozen=True)
class Execution:
    """Result of an execution. `ok`: by the service's word, the code ended without an exception."""

    ok: bool
    stdout: str
    stderr: str


@contextmanager
def map_errors(operation: str) -> Iterator[None]:
    """Translate the HTTP client's errors into the pipeline's. The message names the `operation`.

    An execution whose connection breaks may have happened or not, and may have deleted its source. It raises
    SessionLost, which is not retried in the same session.
    """
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError) as error:
        raise _error_from_exception(error, operation) from error


def _error_from_exception(error: Exception, operation: str) -> PipelineError:
    """Return the cause if it is a PipelineError, such as a source that changed during its upload; else a new error."""
    root: BaseException = error
    while root.__cause__ and not isinstance(root, PipelineError):
        root = root.__cause__
    if isinstance(root, PipelineError):
        return root
    if never_sent(error):
        return _unreachable_error(error)
    error_class = SessionLost if operation == "execute" else PoolUnavailable
    return error_class(f"{operation}: the connection to the session pool broke ({type(root).__name__})")


def _unreachable_error(error: Exception) -> PoolUnavailable:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return PoolUnavailable(
            "this machine does not trust the session pool's certificate: correct PIPELINE_POOL_ENDPOINT, or set "
            "SSL_CERT_FILE to a file with the certificate of its authority",
            kind="pool_unreachable",
        )
    return PoolUnavailable(
        "the session pool does not respond: start it, or correct PIPELINE_POOL_ENDPOINT", kind="pool_unreachable"
    )


def is_retryable(error: Exception, max_delay: float) -> bool | float:
    """Apply the retry policy: whether to repeat a call, or after how many seconds (the pool's Retry-After).

    An error that asks for a delay of more than `max_delay` seconds is not retried.
    """
    if not isinstance(error, PoolUnavailable | PoolFull):
        return False
    after = error.retry_after
    return after <= max_delay and after if after else True


def body_chunks(response: httpx.Response, seconds: float) -> AsyncIterator[bytes]:
    """Return the body in chunks, each of which must arrive within `seconds`.

    Raises SessionReplyError for a compressed body: none was requested, and a few bytes can decompress to gigabytes.
    """
    if is_compressed(response):
        raise SessionReplyError("the session pool sent a compressed response, which was not requested")
    return with_stall_timeout(response.aiter_raw(CHUNK_BYTES), seconds)


def is_compressed(response: httpx.Response) -> bool:
    """Return whether the body is compressed."""
    return bool(response.headers.get("Content-Encoding", "identity").strip().lower() != "identity")


async def read_body(response: httpx.Response, seconds: float) -> bytes:
    """Return the body. Raises SessionReplyError above MAX_RESPONSE_BYTES.

    The body of a compressed error response is ignored; its status must do. `seconds` is the stall timeout.
    """
    if is_compressed(response) and not response.is_success:
        return b""
    body = bytearray()
    async for chunk in body_chunks(response, seconds):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise SessionReplyError(f"the session pool's response is longer than {MAX_RESPONSE_BYTES} bytes")
    return bytes(body)


def json_object(text: bytes) -> dict[str, Any]:
    """Parse a body as a JSON object. Anything else is {}."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        value = {}
    return value if isinstance(value, dict) else {}


def error_from_response(response: httpx.Response, text: bytes, operation: str) -> PipelineError:
    """Map an error response. The message quotes only the error code, since the body may hold the identifier."""
    status, code, message = response.status_code, *_error_code_and_message(text)
    delay = parse_retry_after(response.headers.get("Retry-After", ""))
    if status == httpx.codes.TOO_MANY_REQUESTS or FULL_TEXT in message:
        return PoolFull("the session pool has no free session", retry_after=delay)
    if code in SESSION_NOT_FOUND_CODES:
        return SessionLost(f"{operation}: the session is gone (HTTP {status} {code})")
    if status in (401, 403):
        return PoolUnavailable(
            f"{operation}: the session pool refuses the sign-in (HTTP {status}); the identity needs the role "
            "'Azure ContainerApps Session Executor' on the pool, and PIPELINE_POOL_API_VERSION must be one it serves",
            kind="pool_denied",
        )
    if status == httpx.codes.NOT_FOUND and operation in ("upload", "execute"):
        return PoolUnavailable(
            f"{operation}: there is no session pool at PIPELINE_POOL_ENDPOINT (HTTP 404 {code})", kind="pool_not_found"
        )
    if status == httpx.codes.NOT_FOUND:
        return SessionLost(f"{operation}: the session or its file is gone (HTTP 404 {code})")
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        # No setting allows more than the service accepts, so this session's disk is full.
        return SessionLost(
            f"{operation}: the session refuses the file (HTTP 413 {code}): its disk is full, or the pool accepts fewer "
            "bytes than PIPELINE_MAX_SOURCE_BYTES allows",
            kind="session_full",
        )
    answer = f"{operation}: the session pool responds with HTTP {status} {code}".rstrip()
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return PoolUnavailable(answer, retry_after=delay)
    if response.is_success:
        return SessionReplyError(answer)
    # Any other answer is one that the pool does not document: a proxy's, or a refusal of this one call.
    return PoolUnavailable(answer, kind="pool_refused", retry_after=delay, bounded=True)


def parse_execution(response: dict[str, Any]) -> Execution:
    """Parse the result of an execution. Raises SessionLost when the execution timed out or its interpreter died."""
    result = response.get("result")
    result = result if isinstance(result, dict) else {}
    stdout, stderr = str(result.get("stdout") or ""), str(result.get("stderr") or "")
    ok = str(response.get("status", "")).lower() in ("succeeded", "success")
    if not ok and TIMEOUT_TEXT in stderr:
        raise SessionLost("the execution took too long and was stopped", kind="execution_timeout", stderr_tail=stderr)
    if not ok and any(text in stderr for text in DIED_TEXTS):
        raise SessionLost(
            "the session's interpreter was killed, usually because it ran out of memory",
            kind="session_died",
            stderr_tail=stderr,
        )
    return Execution(ok, stdout, stderr)


def _error_code_and_message(text: bytes) -> tuple[str, str]:
    """Return code and message of an error body, in all observed forms."""
    body = json_object(text)
    error = body.get("error")
    error = error if isinstance(error, dict) else body
    code, message = error.get("code"), error.get("message")
    quoted = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    return quoted, (message if isinstance(message, str) else "")
