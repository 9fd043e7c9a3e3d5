"""The function host, put together: an app's functions, their triggers, and a clean stop."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from devstack.host import settings
from devstack.host.blobs import BlobFunctions, BlobTrigger, Message
from devstack.host.functions import Function, load
from devstack.host.invoke import Invoker
from devstack.host.leases import alone
from devstack.host.queues import QueueListener, QueuePoison, encode, queue_handler
from devstack.host.routes import route
from devstack.host.scan import Scanner
from devstack.host.settings import HOST_STORAGE, HostOptions, resolve
from devstack.host.storage import Accounts, accounts, prepare
from devstack.host.timers import Timer
from devstack.host.web import Web
from devstack.host.webhook import BLOBS, FUNCTIONS, BlobWebhook, described
from devstack.host.work import Work
from devstack.serving import serving

log = logging.getLogger("host")
Loop = Coroutine[Any, Any, None]


@dataclass(frozen=True)
class Options:
    """How to run an app. Times are in seconds.

    With `events`, blob triggers with the source EventGrid get what comes to the webhook and nothing else; without, the
    scan finds their blobs too. `webhook_key` is the code that the webhook asks for, when it is to ask for one.
    """

    app: Path
    port: int = 0
    poll: float = 0.5
    hidden: float = 30.0
    grace: float = 10.0
    events: bool = False
    webhook_key: str = ""


async def serve(options: Options, ready: Callable[[str], None]) -> None:
    """Run the app until cancelled; calls `ready` with the host's address once everything serves.

    When cancelled it takes no more work, gives what is under way `options.grace` seconds, and returns its leases.

    Raises:
        HostError: the app cannot be served.
    """
    settings.local_settings(options.app)
    configured = settings.host_options(options.app)
    functions = load(options.app)
    invoke, work = Invoker(configured.function_timeout), Work()
    web = Web([route(each, configured.route_prefix) for each in _of(functions, "httpTrigger")], invoke, work)
    try:
        async with accounts() as opened, serving(web, options.port, options.grace) as address:
            host = _Host(options, configured, functions, opened, invoke, work, web)
            try:
                await _run(await host.loops(), lambda: ready(address))
            finally:
                web.close()
                await work.finish(options.grace)
    finally:
        _leave(invoke)


def _leave(invoke: Invoker) -> None:
    # Apps have no way to close their clients at the end, here as on the platform: that is no news.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if not invoke.close():
        log.warning("a function that is not async still runs: it is cut off")
        os._exit(0)  # Python itself would wait for its thread


def _of(functions: list[Function], trigger: str) -> list[Function]:
    return [function for function in functions if function.type == trigger]


async def _run(loops: list[Loop], ready: Callable[[], None]) -> None:
    """Run them until cancelled. None ever ends by itself: a failure of one brings the host down."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    ready()
    try:
        await asyncio.gather(asyncio.Event().wait(), *tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class _Host:
    options: Options
    configured: HostOptions
    functions: list[Function]
    accounts: Accounts
    invoke: Invoker
    work: Work
    web: Web

    async def loops(self) -> list[Loop]:
        """What runs for the triggers other than HTTP."""
        self.web.own(FUNCTIONS, self._described)
        if not any(function.type != "httpTrigger" for function in self.functions):
            return []
        app = settings.host_id(self.options.app)
        await prepare(self.accounts, queue := f"azure-webjobs-blobtrigger-{app}")
        queues = [self._queue(function) for function in _of(self.functions, "queueTrigger")]
        timers = [self._timer(function, app) for function in _of(self.functions, "timerTrigger")]
        return [*queues, *timers, *self._blobs(app, queue)]

    def _queue(self, function: Function) -> Loop:
        name, connection = resolve(function.trigger["queueName"]), function.connection
        return QueueListener(
            self.accounts.queues(connection).get_queue_client(name),
            self.configured.queues,
            self.options.hidden,
            queue_handler(function, self.invoke),
            QueuePoison(self.accounts, connection, name),
            self.work,
        ).run()

    def _timer(self, function: Function, app: str) -> Loop:
        status = self.accounts.state(f"timers/{app}/{function.name}/status")
        timer = Timer(function, status, self.invoke, self.work)
        return alone(self.accounts.state(f"locks/{app}/{function.name}.Listener"), timer.run)

    def _blobs(self, app: str, queue: str) -> list[Loop]:
        triggers = [BlobTrigger.of(function) for function in _of(self.functions, "blobTrigger")]
        if not triggers:
            return []
        client = self.accounts.queues(HOST_STORAGE).get_queue_client(queue)
        blobs = BlobFunctions(triggers, self.accounts, self.invoke)
        options = self.configured.blobs
        listener = QueueListener(client, options, self.options.hidden, blobs.handle, blobs.poison, self.work)

        async def enqueue(message: Message) -> None:
            await client.send_message(encode(message.dump()))
            listener.wake()

        self.web.own(BLOBS, BlobWebhook(triggers, enqueue, self.options.webhook_key))
        scanned = [each for each in triggers if not (self.options.events and each.by_events)]
        if not scanned:
            return [listener.run()]
        scanner = Scanner(scanned, self.accounts, f"blobscan/{app}", client, self.options.poll, listener.wake)
        return [listener.run(), alone(self.accounts.state(f"locks/{app}/blobscan"), scanner.run)]

    async def _described(self, _request: Request) -> Response:
        return described(self.functions)
