"""Compose the function host: load the app, run its triggers, serve HTTP, shut down gracefully."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from azure.core.exceptions import ResourceNotFoundError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from functions_host.blob_scanner import BlobScanner
from functions_host.blob_triggers import (
    FUNCTIONS_PATH,
    WEBHOOK_PATH,
    BlobMessage,
    BlobMessageHandler,
    BlobTrigger,
    BlobWebhook,
    list_functions,
)
from functions_host.errors import HostError
from functions_host.functions import Function, InFlight, Invoker, load_functions
from functions_host.groups import functions_of_group
from functions_host.http_triggers import HttpTriggers, compile_route
from functions_host.leader_election import run_while_leader
from functions_host.queue_listener import QueueListener, dead_letter, encode_message, invoke_queue_trigger
from functions_host.settings import (
    HOST_STORAGE,
    HostJson,
    host_id,
    load_host_json,
    load_local_settings,
    resolve_settings,
)
from functions_host.storage import StorageClients, create_host_resources
from functions_host.timer_triggers import TimerTrigger

LOOPBACK_ADDRESS = "127.0.0.1"


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int, grace: float) -> AsyncIterator[str]:
    """Serve `app` until the block ends, and yield the base URL. Port 0 selects a free port.

    At the end, open requests have `grace` seconds (at least 1) to finish.

    Raises:
        HostError: The port is in use.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(grace)),
    )
    # Server.serve() would install signal handlers. The program that runs the event loop handles signals.
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    try:
        listener = socket.create_server((LOOPBACK_ADDRESS, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise HostError(f"port {port} cannot be used ({reason}): choose another with --port") from None
    # Connections inherit the option. asyncio does not set it here, and a response would wait for the previous ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        await server.startup([listener])
        main_loop = asyncio.create_task(server.main_loop())
        try:
            yield f"http://{LOOPBACK_ADDRESS}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await main_loop
            await server.shutdown([listener])


log = logging.getLogger(__name__)
Listener = Coroutine[Any, Any, None]


@dataclass(frozen=True)
class HostOptions:
    """Options of the host. Times are in seconds; port 0 selects a free port.

    With `event_grid`, blob triggers with the source Event Grid receive only events from the webhook. Without it, the
    scan finds their blobs as well. `webhook_key` is the key that webhook requests must send; empty accepts any. The
    host runs only the functions of `group`; all if it is empty.
    """

    app: Path
    port: int = 0
    scan_interval: float = 0.5
    visibility_timeout: float = 30.0
    shutdown_grace: float = 10.0
    event_grid: bool = False
    webhook_key: str = ""
    group: str = ""


async def run_host(options: HostOptions, on_ready: Callable[[str], None]) -> None:
    """Run the app until cancelled. Call `on_ready` with the base URL when all triggers are active.

    When cancelled, the host accepts no further work, gives running invocations `options.shutdown_grace` seconds and
    releases its leases.

    Raises:
        HostError: The app cannot be served.
    """
    load_local_settings(options.app)
    host_json = load_host_json(options.app)
    functions = load_functions(options.app)
    invoke, inflight = Invoker(host_json.function_timeout), InFlight()
    served = functions_of_group(functions, options.group)
    routes = [compile_route(each, host_json.route_prefix) for each in _with_trigger(served, "httpTrigger")]
    http = HttpTriggers(routes, invoke, inflight)
    try:
        async with (
            contextlib.aclosing(StorageClients()) as clients,
            serving(http, options.port, options.shutdown_grace) as url,
        ):
            host = _Host(options, host_json, functions, served, clients, invoke, inflight, http)
            try:
                await _run_all(await host.listeners(), lambda: on_ready(url))
            finally:
                http.close()
                await inflight.drain(options.shutdown_grace)
    finally:
        _exit_threads(invoke)


def _exit_threads(invoke: Invoker) -> None:
    """End the process if a thread cannot be stopped."""
    # Apps cannot close their clients at shutdown, neither here nor on Azure: hide asyncio's complaints about that.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if not invoke.close():
        log.warning("a function is still running in a thread: it is terminated")
        os._exit(0)  # Python would wait for the thread


def _with_trigger(functions: list[Function], trigger_type: str) -> list[Function]:
    return [function for function in functions if function.trigger_type == trigger_type]


async def _run_all(listeners: list[Listener], on_ready: Callable[[], None]) -> None:
    """Run all listeners until cancelled. They do not end; an error in one stops the host."""
    tasks = [asyncio.create_task(listener) for listener in listeners]
    on_ready()
    try:
        await asyncio.gather(asyncio.Event().wait(), *tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class _Host:
    options: HostOptions
    host_json: HostJson
    functions: list[Function]
    served: list[Function]
    clients: StorageClients
    invoke: Invoker
    inflight: InFlight
    http: HttpTriggers

    async def listeners(self) -> list[Listener]:
        """Return the listeners of all triggers except HTTP."""
        self.http.add_endpoint(FUNCTIONS_PATH, self._list_functions)
        if not any(function.trigger_type != "httpTrigger" for function in self.served):
            return []
        app_id = host_id(self.options.app)
        await create_host_resources(self.clients, queue := f"azure-webjobs-blobtrigger-{app_id}")
        queues = [self._queue_listener(each) for each in _with_trigger(self.served, "queueTrigger")]
        timers = [self._timer_listener(each, app_id) for each in _with_trigger(self.served, "timerTrigger")]
        return [*queues, *timers, *self._blob_listeners(app_id, queue)]

    def _queue_listener(self, function: Function) -> Listener:
        """Return the listener of a queue trigger."""
        name, connection = resolve_settings(function.trigger["queueName"]), function.connection
        return QueueListener(
            self.clients.queues(connection).get_queue_client(name),
            self.host_json.queues,
            self.options.visibility_timeout,
            partial(invoke_queue_trigger, function, self.invoke),
            partial(dead_letter, self.clients, connection, name),
            self.inflight,
        ).run()

    def _timer_listener(self, function: Function, app_id: str) -> Listener:
        """Return the listener of a timer trigger."""
        status = self.clients.host_blob(f"timers/{app_id}/{function.name}/status")
        timer = TimerTrigger(function, status, self.invoke, self.inflight)
        return run_while_leader(self.clients.host_blob(f"locks/{app_id}/{function.name}.Listener"), timer.run)

    def _blob_listeners(self, app_id: str, queue_name: str) -> list[Listener]:
        """Return the listeners of all blob triggers: the shared queue, and the scan if it is needed."""
        triggers = [BlobTrigger.from_function(each) for each in _with_trigger(self.served, "blobTrigger")]
        if not triggers:
            return []
        queue = self.clients.queues(HOST_STORAGE).get_queue_client(queue_name)
        handler = BlobMessageHandler(triggers, self.clients, self.invoke)
        listener = QueueListener(
            queue,
            self.host_json.blobs,
            self.options.visibility_timeout,
            handler.handle,
            handler.dead_letter,
            self.inflight,
        )

        async def enqueue(message: BlobMessage) -> None:
            """Send a message and wake the listener. As on Azure, a queue that was deleted is created again."""
            text = encode_message(message.to_json())
            try:
                await queue.send_message(text)
            except ResourceNotFoundError:
                await queue.create_queue()
                await queue.send_message(text)
            listener.wake()

        self.http.add_endpoint(WEBHOOK_PATH, BlobWebhook(triggers, enqueue, self.options.webhook_key))
        # Event Grid reports the blobs of its triggers; a scan finds those of all others.
        scanned = [
            each
            for each in triggers
            if not (self.options.event_grid and each.function.trigger.get("source") == "EventGrid")
        ]
        if not scanned:
            return [listener.run()]
        folder, interval = f"blobscan/{app_id}", self.options.scan_interval
        scanner = BlobScanner(scanned, self.clients, folder, queue, interval, listener.wake)
        return [listener.run(), run_while_leader(self.clients.host_blob(f"locks/{app_id}/blobscan"), scanner.run)]

    async def _list_functions(self, _request: Request) -> Response:
        """Return all functions of the app, as every instance does."""
        return list_functions(self.functions)
