"""Load a function app and invoke its functions; reject apps that the Python worker on Azure rejects.

In-flight invocations are tracked, so that a graceful shutdown can wait for them.
"""

import asyncio
import contextvars
import importlib
import inspect
import json
import logging
import math
import os
import secrets
import sys
import threading
import time
import typing
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import azure.functions as func
from azure.functions import meta
from azure.functions.decorators.function_app import Function as RegisteredFunction
from azurefunctions.extensions.base import get_binding_registry

from functions_host.errors import HostError

T = TypeVar("T")


class InFlight:
    """The set of running tasks. A task continues when the coroutine that waits for it is cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task. The caller handles its result or error, unless the caller is cancelled first."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # mark as retrieved: asyncio warns otherwise when the caller was cancelled

    async def drain(self, grace: float) -> None:
        """Wait up to `grace` seconds for all tasks, then cancel the others and wait for them to end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in (remaining := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)


RETURN_BINDING = "$return"
TRIGGER_TYPES = ("blobTrigger", "queueTrigger", "timerTrigger", "httpTrigger")


@dataclass(frozen=True)
class Function:
    """One function: its code, the JSON of its trigger binding, and the types of its parameters."""

    name: str
    code: Callable[..., Any]
    trigger: dict[str, Any]
    parameter_type: Any
    takes_context: bool

    @property
    def trigger_type(self) -> str:
        """The trigger type: one of TRIGGER_TYPES."""
        return str(self.trigger["type"])

    @property
    def parameter(self) -> str:
        """The name of the parameter that receives the trigger's value."""
        return str(self.trigger["name"])

    @property
    def takes_reference(self) -> bool:
        """Whether the parameter has a type of the SDK bindings: it receives a reference to the data, not the data."""
        registry = get_binding_registry()
        return bool(registry.get(self.trigger_type) and registry.check_supported_type(self.parameter_type))

    @property
    def connection(self) -> str:
        """The connection name of the trigger."""
        return str(self.trigger.get("connection") or "AzureWebJobsStorage")


def load_functions(app: Path) -> list[Function]:
    """Import `function_app.py` from the folder `app`. The folder becomes the current one and the first on sys.path.

    Raises:
        HostError: There is no app, it does not load, or Azure would reject one of its functions.
    """
    if not (app / "function_app.py").exists():
        raise HostError(f"there is no function_app.py in {app}: name the folder of the app with --app")
    os.chdir(app)
    sys.path.insert(0, str(app))
    try:
        return [_to_function(registered) for registered in _function_app(_import_app()).get_functions()]
    except ValueError as error:  # a duplicate name, or a function without a trigger
        raise HostError(f"function_app.py: {error}") from None


def _import_app() -> ModuleType:
    """Import function_app.py as the Python worker does, by its module name."""
    sys.modules.pop("function_app", None)
    try:
        return importlib.import_module("function_app")
    except Exception as error:
        raise HostError(f"function_app.py does not load: {type(error).__name__}: {error}") from error


def _function_app(module: ModuleType) -> func.FunctionApp:
    """Return the only FunctionApp of the module."""
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    if len({id(app) for app in apps}) != 1:
        raise HostError(f"function_app.py must contain one FunctionApp, not {len(apps)}")
    return apps[0]


def _to_function(registered: RegisteredFunction) -> Function:
    """Convert a function that the app has registered."""
    name, code = str(registered.get_function_name()), registered.get_user_function()
    trigger, *others = sorted(
        map(json.loads, registered.get_raw_bindings()), key=lambda binding: binding["name"] == RETURN_BINDING
    )
    if trigger["type"] not in TRIGGER_TYPES or any(binding["type"] != "http" for binding in others):
        raise HostError(
            f"{name}: this host runs functions with one binding, a trigger of the type {', '.join(TRIGGER_TYPES)}"
        )
    takes_context = "context" in inspect.signature(code).parameters
    return _validated(Function(name, code, trigger, _type_hints(name, code).get(trigger["name"]), takes_context))


def _type_hints(name: str, code: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(code)
    except NameError as error:
        raise HostError(f"{name}: an annotation cannot be resolved: {error}") from None


def _validated(function: Function) -> Function:
    """Check the parameters of a function, and return it."""
    parameters = set(inspect.signature(function.code).parameters) - {"context"}
    if parameters != {function.parameter}:
        raise HostError(
            f"{function.name}: its parameters must be {function.parameter} and, optionally, context; "
            f"they are {', '.join(sorted(parameters)) or 'none'}"
        )
    if function.parameter_type is not None and not _supports_parameter_type(function):
        raise HostError(f"{function.name}: a {function.trigger_type} cannot provide {function.parameter_type!r}")
    return function


def _supports_parameter_type(function: Function) -> bool:
    if not isinstance(function.parameter_type, type):
        return False
    if function.parameter_type in (str, bytes):
        return function.trigger_type in ("blobTrigger", "queueTrigger")
    if function.takes_reference:
        return True
    converter = meta.get_binding_registry().get(function.trigger_type)  # type: ignore[no-untyped-call]
    return bool(converter.check_input_type_annotation(function.parameter_type))


log = logging.getLogger(__name__)
current_invocation: contextvars.ContextVar[str] = contextvars.ContextVar("current_invocation", default="")


class InvocationError(Exception):
    """The function raised, exceeded its timeout or returned an invalid value. The invoker has logged it."""


@dataclass(frozen=True)
class TraceContext:
    """The trace context of an invocation. Each invocation starts a new trace."""

    trace_parent: str = field(default_factory=lambda: f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
    trace_state: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """The `context` argument of a function; see azure.functions.Context."""

    function_name: str
    function_directory: str
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    trace_context: TraceContext = field(default_factory=TraceContext)
    retry_context: None = None
    thread_local_storage: threading.local = field(default_factory=threading.local)


func.Context.register(Context)


class Invoker:
    """Call async functions in the event loop and other functions in a thread pool. `timeout` is in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = None if math.isinf(timeout) else timeout
        threads = int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or min(32, (os.cpu_count() or 1) + 4))
        self._thread_pool = ThreadPoolExecutor(threads, thread_name_prefix="function")
        self._thread_calls: set[Future[Any]] = set()

    async def __call__(self, function: Function, value: object, reason: str) -> Any:  # noqa: ANN401 - the function decides
        """Call `function` with the trigger's `value` and return its result. `reason` is for the log.

        Raises:
            InvocationError: The invocation failed.
        """
        context = Context(function.name, os.getcwd())  # noqa: PTH109 - Azure passes a string
        token, start = current_invocation.set(f"{function.name} {context.invocation_id}"), time.perf_counter()
        outcome, level = "failed", logging.ERROR
        try:
            result = await self._checked_result(function, value, context)
            outcome, level = "succeeded", logging.INFO
        except asyncio.CancelledError:
            outcome, level = "cancelled", logging.WARNING
            raise
        else:
            return result
        finally:
            log.log(level, "%s in %.0f ms (%s)", outcome, (time.perf_counter() - start) * 1000, reason)
            current_invocation.reset(token)

    async def _checked_result(self, function: Function, value: object, context: Context) -> object:
        """Call the function within its timeout and check the result."""
        try:
            async with asyncio.timeout(self._timeout) as timeout:
                result = await self._call(function, value, context)
            _check_result(function, result)
        except Exception as error:
            if timeout.expired():
                log.error("the function ran longer than functionTimeout (%s s)", self._timeout)  # noqa: TRY400 - no traceback
            else:
                log.exception("%s", type(error).__name__)
            raise InvocationError(str(error)) from error
        else:
            return result

    async def _call(self, function: Function, value: object, context: Context) -> object:
        arguments = {function.parameter: value} | ({"context": context} if function.takes_context else {})
        if inspect.iscoroutinefunction(function.code):
            return await function.code(**arguments)
        variables, code = contextvars.copy_context(), partial(function.code, **arguments)
        call = self._thread_pool.submit(lambda: variables.run(code))
        self._thread_calls.add(call)
        call.add_done_callback(self._thread_calls.discard)
        return await asyncio.wrap_future(call)

    def close(self) -> bool:
        """Accept no further calls. Return False if a thread still runs a function: only the process exit can end it."""
        self._thread_pool.shutdown(wait=False, cancel_futures=True)
        return not self._thread_calls


def _check_result(function: Function, result: object) -> None:
    """Raise TypeError if Azure would reject the result."""
    if function.trigger_type == "httpTrigger":
        if not isinstance(result, str | func.HttpResponse):
            raise TypeError(f"an HTTP function must return str or HttpResponse, not {type(result).__name__}")
    elif result is not None:
        raise TypeError(f"a function without an output must return None, not {type(result).__name__}")
