"""Application: routes at the root and below the base path of real endpoints, and the middleware around them."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from session_pool_emulator.pool import Pool
from session_pool_emulator.web import admin, executions, files, management, responses
from session_pool_emulator.web.middleware import AccessLogMiddleware, FaultMiddleware, TokenMiddleware

_POOL_PATH = "/subscriptions/{subscription}/resourceGroups/{group}/sessionPools/{pool}"


def build_app(pool: Pool) -> Starlette:
    """Return the application for `pool`. The caller starts and closes the pool."""
    tokens = [Middleware(TokenMiddleware, pool=pool)] if pool.settings.require_token else []
    app = Starlette(
        routes=[Mount(_POOL_PATH, routes=_API_ROUTES), *_API_ROUTES, *_emulator_routes(with_admin=pool.settings.admin)],
        middleware=[Middleware(AccessLogMiddleware, log=pool.log), *tokens, Middleware(FaultMiddleware, pool=pool)],
        exception_handlers={responses.ApiError: responses.handle_error, HTTPException: _handle_unknown_route},
    )
    app.state.pool = pool
    return app


_API_ROUTES = [
    Route("/executions", executions.execute, methods=["POST"]),
    Route("/executions/{execution_id}", executions.get_execution, methods=["GET"]),
    Route("/code/execute", executions.execute_legacy, methods=["POST"]),
    Route("/files", files.list_files, methods=["GET"]),
    Route("/files", files.upload, methods=["POST"]),
    Route("/files/upload", files.upload, methods=["POST"]),
    Route("/files/{rest:path}", files.get_file, methods=["GET"]),
    Route("/files/{rest:path}", files.delete_file, methods=["DELETE"]),
    Route("/session", management.get_session, methods=["GET"]),
    Route("/session", management.delete_session, methods=["DELETE"]),
    Route("/listSessions", management.list_sessions, methods=["GET"]),
    Route("/metadata", management.get_metadata, methods=["GET"]),
    Route("/.management/getSession", management.post_get_session, methods=["POST"]),
    Route("/.management/listSessions", management.post_list_sessions, methods=["POST"]),
    Route("/.management/stopSession", management.post_stop_session, methods=["POST"]),
    Route("/health", management.get_health, methods=["GET"]),
]


def _emulator_routes(*, with_admin: bool) -> list[BaseRoute]:
    """Return the routes that the service does not have."""
    routes: list[BaseRoute] = [
        Route("/", admin.get_status, methods=["GET"]),
        Route("/openapi.json", admin.get_openapi, methods=["GET"]),
    ]
    if with_admin:
        routes += [
            Route("/.admin/faults", admin.get_faults, methods=["GET"]),
            Route("/.admin/faults", admin.put_faults, methods=["PUT"]),
            Route("/.admin/faults", admin.delete_faults, methods=["DELETE"]),
        ]
    return routes


async def _handle_unknown_route(request: Request, error: Exception) -> Response:
    """Respond to an unknown path with 403, as the gateway of the service does, and to a wrong method with 400."""
    message = f"{request.method} {request.url.path} is not an operation of this API."
    if getattr(error, "status_code", 404) == 404:
        return responses.error_response(responses.ApiError(403, "Forbidden", message))
    return responses.error_response(responses.bad_request(message, code="SessionRequestNotSupported"))
