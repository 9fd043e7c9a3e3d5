"""One invocation: the function is called, its answer checked, the outcome logged."""

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

from devstack.host.functions import Function

log = logging.getLogger("host")
running: contextvars.ContextVar[str] = contextvars.ContextVar("running", default="")


class InvocationFailed(Exception):  # noqa: N818 - an outcome
    """The function raised, ran out of time or answered with what it may not; logged already."""


@dataclass(frozen=True)
class TraceContext:
    """The trace that an invocation belongs to: a new one."""

    trace_parent: str = field(default_factory=lambda: f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
    trace_state: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a function gets as `context`: see azure.functions.Context."""

    function_name: str
    function_directory: str
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    trace_context: TraceContext = field(default_factory=TraceContext)
    retry_context: None = None
    thread_local_storage: threading.local = field(default_factory=threading.local)


func.Context.register(Context)


class Invoker:
    """Calls functions: async ones in this event loop, the others in threads. `timeout` is in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = None if math.isinf(timeout) else timeout
        threads = int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or min(32, (os.cpu_count() or 1) + 4))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="function")
        self._in_threads: set[Future[Any]] = set()

    async def __call__(self, function: Function, value: object, reason: str) -> Any:  # noqa: ANN401 - as it comes
        """Call `function` with `value`, what triggered it, and hand back its answer.

        Raises:
            InvocationFailed: whatever went wrong.
        """
        context = Context(function.name, os.getcwd())  # noqa: PTH109 - a string is what the platform gives
        token, start = running.set(f"{function.name} {context.invocation_id}"), time.perf_counter()
        outcome, level = "failed", logging.ERROR
        try:
            answer = await self._answer(function, value, context)
            outcome, level = "succeeded", logging.INFO
        except asyncio.CancelledError:
            outcome, level = "cancelled", logging.WARNING
            raise
        else:
            return answer
        finally:
            log.log(level, "%s in %.0f ms (%s)", outcome, (time.perf_counter() - start) * 1000, reason)
            running.reset(token)

    async def _answer(self, function: Function, value: object, context: Context) -> object:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                answer = await self._call(function, value, context)
            _check(function, answer)
        except Exception as error:
            if limit.expired():
                log.error("it ran longer than functionTimeout, %s s", self._timeout)  # noqa: TRY400 - no traceback
            else:
                log.exception("%s", type(error).__name__)
            raise InvocationFailed(str(error)) from error
        else:
            return answer

    async def _call(self, function: Function, value: object, context: Context) -> object:
        arguments: dict[str, Any] = {function.parameter: value} | (
            {"context": context} if function.wants_context else {}
        )
        if inspect.iscoroutinefunction(function.code):
            return await function.code(**arguments)
        here, code = contextvars.copy_context(), partial(function.code, **arguments)
        call = self._threads.submit(lambda: here.run(code))
        self._in_threads.add(call)
        call.add_done_callback(self._in_threads.discard)
        return await asyncio.wrap_future(call)

    def close(self) -> bool:
        """Take no more. False when a function still runs in a thread: nothing can stop that but the process's end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        return not self._in_threads


def _check(function: Function, answer: object) -> None:
    if function.type == "httpTrigger":
        if not isinstance(answer, str | func.HttpResponse):
            raise TypeError(f"an HTTP function must return str or HttpResponse, not {type(answer).__name__}")
    elif answer is not None:
        raise TypeError(f"a function without an output must return None, not {type(answer).__name__}")
