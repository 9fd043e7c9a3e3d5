"""Invoke functions: call the code, check the return value, log the outcome."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import math
import os
import secrets
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import azure.functions as func

from functions_host.functions import Function

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
