"""Control API below `/.eventgrid`: manage subscriptions, publish events, show the status."""

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from event_grid_emulator.errors import EventGridError
from event_grid_emulator.events import Event
from event_grid_emulator.grid import EventGrid
from event_grid_emulator.subscription import Subscription

ROOT = "/.eventgrid"


def control_app(grid: EventGrid, proxy: ASGIApp) -> Starlette:
    """Return the ASGI application of the control API. It passes all paths outside of ROOT to `proxy`."""

    async def status(_request: Request) -> Response:
        """Handle GET on ROOT."""
        return JSONResponse(grid.status())

    async def subscribe(request: Request) -> Response:
        """Create or replace a subscription."""
        subscription = Subscription.from_json(request.path_params["name"], await _json_body(request))
        await grid.subscribe(subscription)
        return JSONResponse(subscription.model_dump(by_alias=True, mode="json"), HTTPStatus.CREATED)

    async def unsubscribe(request: Request) -> Response:
        """Delete a subscription."""
        await grid.unsubscribe(request.path_params["name"])
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def publish(request: Request) -> Response:
        """Publish one event or a list of events."""
        document = await _json_body(request)
        events = [Event.from_json(each) for each in (document if isinstance(document, list) else [document])]
        for event in events:
            grid.publish(event)
        return JSONResponse({"published": len(events)}, HTTPStatus.ACCEPTED)

    control = [
        Route("/subscriptions/{name}", subscribe, methods=["PUT"]),
        Route("/subscriptions/{name}", unsubscribe, methods=["DELETE"]),
        Route("/events", publish, methods=["POST"]),
    ]
    routes = [Route(ROOT, status), Mount(ROOT, routes=control), Mount("/", proxy)]
    return Starlette(routes=routes, exception_handlers={EventGridError: _bad_request})


async def _bad_request(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": {"code": "BadRequest", "message": str(error)}}, HTTPStatus.BAD_REQUEST)


async def _json_body(request: Request) -> object:
    try:
        return await request.json()
    except ValueError as error:
        raise EventGridError(f"the body is not JSON: {error}") from None
