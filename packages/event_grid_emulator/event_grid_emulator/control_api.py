"""The addresses below `/.eventgrid`, beside the storage account's own: subscriptions, events by hand, how it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from devstack.errors import EventGridError
from devstack.event_grid.events import Event
from devstack.event_grid.grid import Grid
from devstack.event_grid.subscription import Subscription

ROOT = "/.eventgrid"


class Control:
    """An ASGI application; what is not below ROOT is for `storage`."""

    def __init__(self, grid: Grid, storage: ASGIApp) -> None:
        self._grid, self._storage = grid, storage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        if scope["path"] != ROOT and not scope["path"].startswith(f"{ROOT}/"):
            await self._storage(scope, receive, send)
            return
        try:
            response = await self._answer(Request(scope, receive))
        except EventGridError as error:
            response = JSONResponse({"error": {"code": "BadRequest", "message": str(error)}}, 400)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        what, _, name = request.url.path.removeprefix(ROOT).strip("/").partition("/")
        actions: dict[tuple[str, str], Callable[[Request, str], Awaitable[Response]]] = {
            ("GET", ""): self._status,
            ("PUT", "subscriptions"): self._subscribe,
            ("DELETE", "subscriptions"): self._unsubscribe,
            ("POST", "events"): self._publish,
        }
        action = actions.get((request.method, what))
        return await action(request, name) if action else Response(status_code=404)

    async def _status(self, _request: Request, _name: str) -> Response:
        return JSONResponse(self._grid.status())

    async def _subscribe(self, request: Request, name: str) -> Response:
        subscription = Subscription.read(name or "local", await _json(request))
        await self._grid.subscribe(subscription)
        return JSONResponse(subscription.model_dump(by_alias=True, mode="json"), 201)

    async def _unsubscribe(self, _request: Request, name: str) -> Response:
        await self._grid.unsubscribe(name)
        return Response(status_code=204)

    async def _publish(self, request: Request, _name: str) -> Response:
        document = await _json(request)
        events = [Event.read(each) for each in (document if isinstance(document, list) else [document])]
        for event in events:
            self._grid.publish(event)
        return JSONResponse({"published": len(events)}, 202)


async def _json(request: Request) -> object:
    try:
        return await request.json()
    except ValueError as error:
        raise EventGridError(f"the body is not JSON: {error}") from None
