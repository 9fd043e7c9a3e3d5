"""Handlers that the service lacks: status of the pool, and `/.admin/faults`, which exists only with `--admin`."""

import json
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from session_pool_emulator.log import short_hash
from session_pool_emulator.pool import Pool
from session_pool_emulator.session import Session
from session_pool_emulator.settings import MIB, Fault
from session_pool_emulator.web.responses import bad_request, json_response


async def get_faults(request: Request) -> Response:
    """Handle GET /.admin/faults: list the active faults."""
    return _faults_response(request.app.state.pool)


async def put_faults(request: Request) -> Response:
    """Handle PUT /.admin/faults: replace the active faults with `{"faults": ["KIND:key=value"], "seed": 1}`."""
    pool: Pool = request.app.state.pool
    try:
        body = json.loads(await request.body())
        faults = [Fault.parse(text) for text in body.get("faults", [])]
        seed = int(body.get("seed", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise bad_request(f"The body must be {{'faults': [text], 'seed': number}}: {error}") from None
    pool.faults.replace(faults, seed)
    return _faults_response(pool)


async def delete_faults(request: Request) -> Response:
    """Handle DELETE /.admin/faults: deactivate all faults."""
    pool: Pool = request.app.state.pool
    pool.faults.replace([])
    return Response(status_code=204)


def _faults_response(pool: Pool) -> Response:
    return json_response({"faults": [str(fault) for fault in pool.faults.faults]})


_STYLE = "body{font:15px system-ui;margin:2rem}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ccc}"
_COLUMNS = ("session", "ageSeconds", "idleSeconds", "calls", "executions", "busy", "memoryMiB")


async def get_status(request: Request) -> Response:
    """Handle GET /: return a page to a browser, and JSON to other clients."""
    status = _pool_status(request.app.state.pool)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_render_page(status))
    return json_response(status)


async def get_openapi(_: Request) -> Response:
    """Handle GET /openapi.json: the OpenAPI description, with the API versions of each operation."""
    return FileResponse(Path(__file__).with_name("openapi.json"), media_type="application/json; charset=utf-8")


def _pool_status(pool: Pool) -> dict[str, Any]:
    return {
        "pool": pool.settings.name,
        "sandbox": pool.sandbox_kind,
        "alive": pool.alive,
        "maxSessions": pool.capacity,
        "spares": pool.spares,
        "cooldownSeconds": pool.settings.cooldown_seconds,
        "faults": [str(fault) for fault in pool.faults.faults],
        "sessions": [_session_status(session) for session in pool.sessions],
    }


def _session_status(session: Session) -> dict[str, Any]:
    now = datetime.now(UTC)
    ready = session.interpreter.done()
    return {
        "session": short_hash(session.identifier),
        "ageSeconds": round((now - session.created_at).total_seconds(), 1),
        "idleSeconds": 0 if session.active_calls else round((now - session.last_accessed_at).total_seconds(), 1),
        "calls": session.calls,
        "executions": session.execution_count,
        "busy": session.active_calls,
        "memoryMiB": round(session.interpreter.result().memory_bytes() / MIB) if ready else 0,
    }


def _render_page(status: dict[str, Any]) -> str:
    facts = "".join(f"<tr><th>{escape(k)}<td>{escape(str(v))}" for k, v in status.items() if k != "sessions")
    head = "".join(f"<th>{name}" for name in _COLUMNS)
    rows = "".join("<tr>" + "".join(f"<td>{row[name]}" for name in _COLUMNS) for row in status["sessions"])
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>"
        f"<title>Session pool</title><style>{_STYLE}</style><h1>Session pool</h1><table>{facts}</table>"
        f"<h2>Sessions</h2><table><tr>{head}{rows}</table></html>"
    )
