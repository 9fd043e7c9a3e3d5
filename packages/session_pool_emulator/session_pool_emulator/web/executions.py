"""Running code."""

from __future__ import annotations

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

from session_pool_emulator.kernel import Outcome
from session_pool_emulator.log import short
from session_pool_emulator.session import Execution, Program, Session, Status
from session_pool_emulator.settings import PoolSettings
from session_pool_emulator.web.answers import json_response
from session_pool_emulator.web.call import Call, Version
from session_pool_emulator.web.errors import ApiError, bad_request

_OPERATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_INPUT_TYPES = ("inline", "inlinebase64", "inlinetext")
_EXECUTION_TYPES = ("synchronous", "asynchronous")
_DEFAULT_OUTPUT_LIMIT = 4096
_INT32 = 2**31 - 1


async def execute(request: Request) -> Response:
    """POST executions."""
    call = Call.of(request, since=Version.V2024_10)
    body = await _json_body(request, call.pool.settings.max_request)
    if "properties" in body:
        raise bad_request("The body must not have a 'properties' envelope.", code="SessionPropertiesMissing")
    execution, session, new = await _submit(call, body)
    if not execution.program.asynchronous:
        await execution.ended.wait()
    return json_response(describe(execution), headers=_headers(call, execution, session, new=new))


async def execute_old(request: Request) -> Response:
    """POST code/execute."""
    call = Call.of(request, until=Version.V2024_08)
    body = await _json_body(request, call.pool.settings.max_request)
    if not isinstance(body.get("properties"), dict):
        raise bad_request("The body must have a 'properties' object.", code="SessionPropertiesMissing")
    execution, session, new = await _submit(call, body["properties"])
    await execution.ended.wait()
    return json_response(_describe_old(execution), headers=_headers(call, execution, session, new=new))


async def get_execution(request: Request) -> Response:
    """GET executions/{id}."""
    call = Call.of(request, since=Version.V2024_10)
    session, _ = await call.session()
    wanted = request.path_params["execution_id"]
    execution = session.executions.get(wanted)
    if execution is None:
        raise ApiError(404, "ExecutionNotFound", f"No execution available for operation Id: {wanted}")
    return json_response(describe(execution))


async def _submit(call: Call, body: dict[str, Any]) -> tuple[Execution, Session, bool]:
    program = replace(
        parse_program(body, call.pool.settings), kill_after=getattr(call.request.state, "kill_after", None)
    )
    operation_id = call.request.headers.get("operation-id") or str(uuid.uuid4())
    if not _OPERATION_ID.fullmatch(operation_id):
        raise bad_request("The header 'operation-id' must be letters, digits and . _ : -", target="operation-id")
    session, new = await call.session()
    known = session.executions.get(operation_id)
    if known is not None and not known.ended.is_set():
        return known, session, new  # asked twice: the operation is the same
    call.request.state.note = {"execution": operation_id, "code": short(program.code)}
    return session.submit(operation_id, program), session, new


async def _json_body(request: Request, limit: int) -> dict[str, Any]:
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > limit:
                raise ApiError(413, "RequestTooLarge", f"The body of an execution may have {limit} bytes.")
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise bad_request("The body is not JSON.") from None
    except ClientDisconnect:
        raise bad_request("The body is not whole.") from None
    if not isinstance(body, dict):
        raise bad_request("The body must be a JSON object.")
    return body


def parse_program(body: dict[str, Any], settings: PoolSettings) -> Program:
    """The program that `body` asks for. Raises ApiError for what is missing or of the wrong type."""
    if not isinstance(body.get("code"), str):
        raise bad_request(
            "The field 'code' is required in the request.", code="SessionPropertiesMissing", target="code"
        )
    input_type = _word(body, "codeInputType", _INPUT_TYPES)
    code = _from_base64(body["code"]) if input_type == "inlinebase64" else body["code"]
    seconds = _integer(body, "timeoutInSeconds", round(settings.default_run))
    return Program(
        code=code,
        timeout=min(float(seconds), settings.max_run),
        output_limit=_integer(body, "outputStreamsMaxLength", _DEFAULT_OUTPUT_LIMIT),
        jupyter_format=_flag(body, "returnJupyterFormatExecutionResult"),
        asynchronous=_word(body, "executionType", _EXECUTION_TYPES) == "asynchronous",
    )


def _word(body: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    """Enumerations are compared without regard to case: clients write them both ways."""
    value = body.get(name)
    if value is None:
        return allowed[0]
    if not isinstance(value, str) or value.lower() not in allowed:
        raise bad_request(f"The field '{name}' must be one of {', '.join(allowed)}.", target=name)
    return value.lower()


def _integer(body: dict[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _INT32:
        raise bad_request(f"The field '{name}' must be a whole number, at least 1.", target=name)
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise bad_request(f"The field '{name}' must be true or false.", target=name)
    return bool(value)


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_request("The field 'code' is not base64 of UTF-8 text.", target="code") from None


def describe(execution: Execution) -> dict[str, Any]:
    """An execution as the new family shows it; `result` only once there is one."""
    body: dict[str, Any] = {
        "id": execution.id,
        "identifier": execution.identifier,
        "executionType": "Asynchronous" if execution.program.asynchronous else "Synchronous",
        "status": execution.status,
    }
    if execution.outcome is not None:
        body["result"] = {
            "stdout": execution.outcome.stdout,
            "stderr": execution.outcome.stderr,
            "executionResult": result_value(execution.outcome, jupyter_format=execution.program.jupyter_format),
            "executionTimeInMilliseconds": execution.outcome.ms,
        }
    return body


def _describe_old(execution: Execution) -> dict[str, Any]:
    outcome = execution.outcome or Outcome()
    properties = {
        "$id": "2",
        "status": "Success" if execution.status is Status.SUCCEEDED else "Failure",
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
        "result": result_value(outcome, jupyter_format=False),
        "executionTimeInMilliseconds": outcome.ms,
    }
    return {"$id": "1", "properties": properties}


def result_value(outcome: Outcome, *, jupyter_format: bool) -> object:
    """The last expression's value: "" when there is none, text when JSON has no such value.

    With `jupyter_format`, None is null and other primitive values are text, as the Jupyter protocol shows them.
    """
    value = outcome.value
    if value is None:
        return None if jupyter_format else ""
    if value.has_json and not (jupyter_format and value.primitive):
        return value.json
    return value.text


def _headers(call: Call, execution: Execution, session: Session, *, new: bool) -> dict[str, str]:
    outcome_ms = execution.outcome.ms if execution.outcome else 0
    identifier = quote(execution.identifier, safe="")
    url = call.request.url
    base = f"{url.scheme}://{url.netloc}{call.request.scope.get('root_path', '')}"
    location = f"{base}/executions/{execution.id}?api-version={call.version_name}&identifier={identifier}"
    return {
        "Operation-Location": location,
        "operation-id": execution.id,
        "x-ms-session-guid": session.guid,
        "x-ms-new-allocation": str(new).lower(),
        "x-ms-allocation-time": _duration(session.allocation_seconds if new else 0),
        "x-ms-container-execution-duration": _duration(outcome_ms / 1000),
        "x-ms-overall-execution-time": _duration(outcome_ms / 1000),
    }


def _duration(seconds: float) -> str:
    """As Go prints a duration."""
    return f"{seconds * 1000:.6g}ms" if seconds < 1 else f"{seconds:.9g}s"
