"""The routes, under both of the base paths that real endpoints have."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from devstack.session_pool.pool import Pool
from devstack.session_pool.web import errors, executions, files, management
from devstack.session_pool.web.access import AccessLogging

_POOL_PATH = "/subscriptions/{subscription}/resourceGroups/{group}/sessionPools/{pool}"


def build(pool: Pool) -> Starlette:
    """The application on a pool that the caller starts and closes."""
    routes = _routes()
    app = Starlette(
        routes=[Mount(_POOL_PATH, routes=routes), *routes],
        middleware=[Middleware(AccessLogging, log=pool.log)],
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
        Route("/.management/stopSession", management.stop_session, methods=["POST"]),
    ]


async def _no_such_operation(request: Request, error: Exception) -> Response:
    """A wrong method is told apart from a path that nobody knows, which the service's gateway refuses with 403."""
    message = f"{request.method} {request.url.path} is not an operation of this API."
    if getattr(error, "status_code", 404) == 404:
        return errors.answer(errors.ApiError(403, "Forbidden", message))
    return errors.answer(errors.bad_request(message, code="SessionRequestNotSupported"))
