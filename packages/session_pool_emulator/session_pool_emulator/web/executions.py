"""Handlers of executions, and the conversion between their JSON and the objects of the pool."""

import base64
import binascii
import json
import re
import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from session_pool_emulator.kernel_client import ExecutionResult
from session_pool_emulator.log import short_hash
from session_pool_emulator.session import Execution, ExecutionRequest, ExecutionStatus, Session
from session_pool_emulator.settings import PoolSettings
from session_pool_emulator.web.request_context import ApiVersion, RequestContext
from session_pool_emulator.web.responses import ApiError, bad_request, json_response

_OPERATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_INPUT_TYPES = ("inline", "inlinebase64", "inlinetext")
_EXECUTION_TYPES = ("synchronous", "asynchronous")
_DEFAULT_OUTPUT_LIMIT = 4096
_MAX_INT32 = 2**31 - 1


async def execute(request: Request) -> Response:
    """Handle POST /executions."""
    context = RequestContext.create(request, since=ApiVersion.V2024_10)
    body = await _read_json_object(request, context.pool.settings.max_request_bytes)
    if "properties" in body:
        raise bad_request("The body must not have a 'properties' envelope.", code="SessionPropertiesMissing")
    execution, session, new = await _submit(context, body)
    if not execution.request.asynchronous:
        await execution.ended.wait()
    return json_response(_execution_body(execution), headers=_headers(context, execution, session, new=new))


async def execute_legacy(request: Request) -> Response:
    """Handle POST /code/execute."""
    context = RequestContext.create(request, until=ApiVersion.V2024_08)
    body = await _read_json_object(request, context.pool.settings.max_request_bytes)
    if not isinstance(body.get("properties"), dict):
        raise bad_request("The body must have a 'properties' object.", code="SessionPropertiesMissing")
    execution, session, new = await _submit(context, body["properties"])
    await execution.ended.wait()
    return json_response(_legacy_execution_body(execution), headers=_headers(context, execution, session, new=new))


async def get_execution(request: Request) -> Response:
    """Handle GET /executions/{id}."""
    context = RequestContext.create(request, since=ApiVersion.V2024_10)
    session, _ = await context.session()
    execution_id = request.path_params["execution_id"]
    execution = session.executions.get(execution_id)
    if execution is None:
        raise ApiError(404, "ExecutionNotFound", f"No execution available for operation Id: {execution_id}")
    return json_response(_execution_body(execution))


async def _submit(context: RequestContext, body: dict[str, Any]) -> tuple[Execution, Session, bool]:
    """Start the execution that `body` describes; return it, its session and whether the session is new."""
    kill_after = getattr(context.request.state, "kill_after", None)
    execution_request = replace(_parse_execution_request(body, context.pool.settings), kill_after=kill_after)
    operation_id = context.request.headers.get("operation-id") or str(uuid.uuid4())
    if not _OPERATION_ID.fullmatch(operation_id):
        raise bad_request("The header 'operation-id' must be letters, digits and . _ : -", target="operation-id")
    session, new = await context.session()
    running = session.executions.get(operation_id)
    if running is not None and not running.ended.is_set():
        return running, session, new  # a repeated request for the same operation
    context.request.state.log_fields = {"execution": operation_id, "code": short_hash(execution_request.code)}
    return session.submit(operation_id, execution_request), session, new


async def _read_json_object(request: Request, limit: int) -> dict[str, Any]:
    """Read a body of at most `limit` bytes; raise ApiError if it is not a JSON object."""
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > limit:
                raise ApiError(413, "RequestTooLarge", f"The body of an execution must not exceed {limit} bytes.")
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise bad_request("The body is not JSON.") from None
    except ClientDisconnect:
        raise bad_request("The body is incomplete.") from None
    if not isinstance(body, dict):
        raise bad_request("The body must be a JSON object.")
    return body


def _parse_execution_request(body: dict[str, Any], settings: PoolSettings) -> ExecutionRequest:
    """Parse the fields of an execution; raise ApiError for a missing field or a wrong type."""
    if not isinstance(body.get("code"), str):
        raise bad_request(
            "The field 'code' is required in the request.", code="SessionPropertiesMissing", target="code"
        )
    input_type = _enum_field(body, "codeInputType", _INPUT_TYPES)
    code = _decode_base64(body["code"]) if input_type == "inlinebase64" else body["code"]
    timeout = _positive_field(body, "timeoutInSeconds", round(settings.default_execution_seconds))
    return ExecutionRequest(
        code=code,
        timeout=min(timeout, settings.max_execution_seconds),
        output_limit=_positive_field(body, "outputStreamsMaxLength", _DEFAULT_OUTPUT_LIMIT),
        jupyter_format=_boolean_field(body, "returnJupyterFormatExecutionResult"),
        asynchronous=_enum_field(body, "executionType", _EXECUTION_TYPES) == "asynchronous",
    )


def _enum_field(body: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    """Return an enumeration field in lower case, because clients differ in case; the first value is the default."""
    value = body.get(name)
    if value is None:
        return allowed[0]
    if not isinstance(value, str) or value.lower() not in allowed:
        raise bad_request(f"The field '{name}' must be one of {', '.join(allowed)}.", target=name)
    return value.lower()


def _positive_field(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MAX_INT32:
        raise bad_request(f"The field '{name}' must be an integer of at least 1.", target=name)
    return value


def _boolean_field(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise bad_request(f"The field '{name}' must be true or false.", target=name)
    return bool(value)


def _decode_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_request("The field 'code' is not base64-encoded UTF-8 text.", target="code") from None


def _execution_body(execution: Execution) -> dict[str, Any]:
    """Return the body for an execution; `result` appears when the execution has ended."""
    body: dict[str, Any] = {
        "id": execution.id,
        "identifier": execution.identifier,
        "executionType": "Asynchronous" if execution.request.asynchronous else "Synchronous",
        "status": execution.status,
    }
    if execution.result is not None:
        body["result"] = {
            "stdout": execution.result.stdout,
            "stderr": execution.result.stderr,
            "executionResult": _expression_value(execution.result, jupyter_format=execution.request.jupyter_format),
            "executionTimeInMilliseconds": execution.result.duration_ms,
        }
    return body


def _legacy_execution_body(execution: Execution) -> dict[str, Any]:
    result = execution.result or ExecutionResult()
    properties = {
        "$id": "2",
        "status": "Success" if execution.status is ExecutionStatus.SUCCEEDED else "Failure",
        "stdout": result.stdout,
        "stderr": result.stderr,
        "result": _expression_value(result, jupyter_format=False),
        "executionTimeInMilliseconds": result.duration_ms,
    }
    return {"$id": "1", "properties": properties}


def _expression_value(result: ExecutionResult, *, jupyter_format: bool) -> object:
    """Return the value of the last expression as JSON, as text if JSON cannot represent it, or "" without a value.

    With `jupyter_format`, None is null and other primitive values are text, as in the Jupyter protocol.
    """
    value = result.value
    if value is None:
        return None if jupyter_format else ""
    if value.has_json and not (jupyter_format and value.primitive):
        return value.json
    return value.text


def _headers(context: RequestContext, execution: Execution, session: Session, *, new: bool) -> dict[str, str]:
    """Return the headers of an execution response."""
    duration_seconds = execution.result.duration_ms / 1000 if execution.result else 0
    identifier = quote(execution.identifier, safe="")
    url = context.request.url
    base = f"{url.scheme}://{url.netloc}{context.request.scope.get('root_path', '')}"
    location = f"{base}/executions/{execution.id}?api-version={context.version_name}&identifier={identifier}"
    return {
        "Operation-Location": location,
        "operation-id": execution.id,
        "x-ms-session-guid": session.guid,
        "x-ms-new-allocation": str(new).lower(),
        "x-ms-allocation-time": _format_duration(session.allocation_seconds if new else 0),
        "x-ms-container-execution-duration": _format_duration(duration_seconds),
        "x-ms-overall-execution-time": _format_duration(duration_seconds),
    }


def _format_duration(seconds: float) -> str:
    """Format a duration as Go does."""
    return f"{seconds * 1000:.6g}ms" if seconds < 1 else f"{seconds:.9g}s"
