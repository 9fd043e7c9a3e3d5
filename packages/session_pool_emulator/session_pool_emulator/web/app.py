"""The routes, under both of the base paths that real endpoints have."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from session_pool_emulator.pool import Pool
from session_pool_emulator.web import admin, description, errors, executions, files, management, status
from session_pool_emulator.web.access import AccessLogging
from session_pool_emulator.web.striking import Striking
from session_pool_emulator.web.tokens import RequireToken

_POOL_PATH = "/subscriptions/{subscription}/resourceGroups/{group}/sessionPools/{pool}"


def build(pool: Pool) -> Starlette:
    """The application on a pool that the caller starts and closes."""
    routes = _routes()
    tokens = [Middleware(RequireToken, pool=pool)] if pool.settings.require_token else []
    own = _own_routes(with_admin=pool.settings.admin)
    app = Starlette(
        routes=[Mount(_POOL_PATH, routes=routes), *routes, *own],
        middleware=[Middleware(AccessLogging, log=pool.log), *tokens, Middleware(Striking, pool=pool)],
        exception_handlers={errors.ApiError: errors.handle, HTTPException: _no_such_operation},
    )
    app.state.pool = pool
    return app


def _routes() -> list[BaseRoute]:
    return [
        Route("/executions", executions.execute, methods=["POST"]),
        Route("/executions/{execution_id}", executions.get_execution, methods=["GET"]),
        Route("/code/execute", executions.execute_old, methods=["POST"]),
        Route("/files", files.list_files, methods=["GET"]),
        Route("/files", files.upload, methods=["POST"]),
        Route("/files/upload", files.upload, methods=["POST"]),
        Route("/files/{rest:path}", files.get_item, methods=["GET"]),
        Route("/files/{rest:path}", files.delete_item, methods=["DELETE"]),
        Route("/session", management.get_session, methods=["GET"]),
        Route("/session", management.delete_session, methods=["DELETE"]),
        Route("/listSessions", management.list_sessions, methods=["GET"]),
        Route("/metadata", management.get_metadata, methods=["GET"]),
        Route("/.management/getSession", management.get_session_view, methods=["POST"]),
        Route("/.management/listSessions", management.list_session_views, methods=["POST"]),
        Route("/.management/stopSession", management.stop_session, methods=["POST"]),
        Route("/health", management.health, methods=["GET"]),
    ]


def _own_routes(*, with_admin: bool) -> list[BaseRoute]:
    """What the service does not have."""
    routes = [Route("/", status.show, methods=["GET"]), Route("/openapi.json", description.show, methods=["GET"])]
    if with_admin:
        routes += [
            Route("/.admin/faults", admin.get_faults, methods=["GET"]),
            Route("/.admin/faults", admin.put_faults, methods=["PUT"]),
            Route("/.admin/faults", admin.delete_faults, methods=["DELETE"]),
        ]
    return [*routes]


async def _no_such_operation(request: Request, error: Exception) -> Response:
    """A wrong method is told apart from a path that nobody knows, which the service's gateway refuses with 403."""
    message = f"{request.method} {request.url.path} is not an operation of this API."
    if getattr(error, "status_code", 404) == 404:
        return errors.answer(errors.ApiError(403, "Forbidden", message))
    return errors.answer(errors.bad_request(message, code="SessionRequestNotSupported"))
