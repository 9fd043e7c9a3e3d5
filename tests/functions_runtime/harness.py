"""Run a function app in Microsoft's own Python runtime for Functions, without a host.

    python harness.py APP_FOLDER < calls.json > results.json

The runtime package receives its protobuf classes as a parameter, so that small stand-ins replace gRPC. Each call is
`{"function": …, "inputs": {parameter: {"string": …} | {"http": …} | {"blob": …} | {"json": …}}}`. The first result is
the index: the bindings of every function. Needs Python 3.13 or later, and nothing of this project.
"""

from __future__ import annotations

import asyncio
import json
import sys
import types
import uuid
from pathlib import Path
from typing import Any


class Message:
    """A protobuf message, created from keywords; omitted fields are absent."""

    choices: tuple[str, ...] = ()

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def WhichOneof(self, _: str) -> str | None:  # noqa: N802 - the name in protobuf
        """Return the field of a `oneof` that is set."""
        return next((name for name in self.choices if name in self.__dict__), None)


def kind(name: str, **members: Any) -> type[Message]:
    """Create a message class."""
    return type(name, (Message,), members)


DATA = (
    "string json bytes http int double collection_bytes collection_string collection_sint64 model_binding_data "
    "collection_model_binding_data"
)
PLAIN = (
    "WorkerInitResponse WorkerMetadata FunctionMetadataResponse FunctionLoadResponse InvocationResponse "
    "RpcFunctionMetadata RpcRetryOptions RpcException ModelBindingData NullableString NullableBool NullableDouble "
    "NullableTimestamp FunctionEnvironmentReloadResponse"
)
TypedData = kind("TypedData", choices=tuple(DATA.split()))
RpcHttp = kind("RpcHttp", method="", url="", headers={}, params={}, query={}, body=TypedData())
same_site = types.SimpleNamespace(**{"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})
protos = types.SimpleNamespace(
    TypedData=TypedData,
    RpcHttp=RpcHttp,
    RpcHttpCookie=kind("RpcHttpCookie", SameSite=same_site),
    ParameterBinding=kind("ParameterBinding", choices=("data",)),
    StatusResult=kind("StatusResult", Failure=0, Success=1, Cancelled=2),
    BindingInfo=kind("BindingInfo", **{"in": 0, "out": 1, "inout": 2, "undefined": 0}),
    **{name: kind(name) for name in PLAIN.split()},
)


class Runtime:
    """The Functions runtime with one app."""

    def __init__(self, folder: Path) -> None:
        import azure_functions_runtime

        self._runtime = azure_functions_runtime
        self._folder = folder
        self._functions: dict[str, Any] = {}

    async def index(self) -> dict[str, Any]:
        """Load the app; return the bindings of every function, or the error."""
        self._runtime.start_threadpool_executor()
        init = types.SimpleNamespace(capabilities={}, function_app_directory=str(self._folder))
        started = await self._runtime.worker_init_request(
            types.SimpleNamespace(
                request=types.SimpleNamespace(worker_init_request=init),
                properties={"host": "127.0.0.1", "protos": protos},
            )
        )
        if started.result.status != protos.StatusResult.Success:
            return {"error": started.result.exception.message}
        metadata = await self._runtime.functions_metadata_request(None)
        self._functions = {one.name: one for one in metadata.function_metadata_results or []}
        return {name: [json.loads(text) for text in one.raw_bindings] for name, one in self._functions.items()}

    async def invoke(self, call: dict[str, Any]) -> dict[str, Any]:
        """Invoke a function; return its success, its error and its result."""
        inputs = [
            protos.ParameterBinding(name=name, data=typed(value)) for name, value in call.get("inputs", {}).items()
        ]
        request = types.SimpleNamespace(
            invocation_id=str(uuid.uuid4()),
            function_id=self._functions[call["function"]].function_id,
            input_data=inputs,
            trigger_metadata={name: typed(value) for name, value in call.get("metadata", {}).items()},
            trace_context=types.SimpleNamespace(trace_parent="", trace_state="", attributes={}),
            retry_context=types.SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        envelope = types.SimpleNamespace(request=types.SimpleNamespace(invocation_request=request))
        response = await self._runtime.invocation_request(envelope)
        succeeded = response.result.status == protos.StatusResult.Success
        message = None if succeeded else response.result.exception.message
        return {"succeeded": succeeded, "error": message, "returned": returned(getattr(response, "return_value", None))}


def typed(value: dict[str, Any]) -> Message:
    """Encode an input as the host does."""
    ((form, content),) = value.items()
    if form == "blob":
        body = json.dumps(content).encode()
        properties = {"version": "1.0", "source": "AzureStorageBlobs", "content_type": "application/json"}
        return TypedData(model_binding_data=protos.ModelBindingData(**properties, content=body))
    if form == "http":
        return TypedData(http=RpcHttp(**{**content, "body": TypedData(bytes=content.get("body", "").encode())}))
    if form == "json":
        return TypedData(json=json.dumps(content))
    return TypedData(**{form: content})


def returned(value: Any) -> Any:
    """Convert a returned HTTP response to JSON; None for everything else."""
    http = getattr(value, "http", None)
    if http is None:
        return None
    body = http.body
    content = getattr(body, body.WhichOneof("data") or "", b"")
    text = content.decode("latin-1") if isinstance(content, bytes) else content
    headers = {name: getattr(one, "value", one) for name, one in http.headers.items()}
    return {"status": http.status_code, "headers": headers, "body": text}


async def main(folder: Path) -> None:
    """Index the app, then invoke the functions one after another."""
    calls = json.load(sys.stdin)
    sys.path.insert(0, str(folder))
    runtime = Runtime(folder)
    results: list[Any] = [await runtime.index()]
    if "error" not in results[0]:
        results += [await runtime.invoke(call) for call in calls]
    print(json.dumps(results, default=str))  # noqa: T201 - the result


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).resolve()))
