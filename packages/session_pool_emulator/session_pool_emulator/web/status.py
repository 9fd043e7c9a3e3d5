"""A page to look at: what the pool is doing now."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from session_pool_emulator.log import short
from session_pool_emulator.pool import Pool
from session_pool_emulator.session import Session
from session_pool_emulator.settings import MIB
from session_pool_emulator.web.answers import json_response

_STYLE = "body{font:15px system-ui;margin:2rem}td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ccc}"


async def show(request: Request) -> Response:
    """GET /: JSON, or a page for those who ask for HTML."""
    status = _status(request.app.state.pool)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_page(status))
    return json_response(status)


def _status(pool: Pool) -> dict[str, Any]:
    return {
        "pool": pool.settings.name,
        "sandbox": pool.kind,
        "alive": pool.alive,
        "maxSessions": pool.capacity,
        "spares": pool.spares,
        "cooldownSeconds": pool.settings.cooldown,
        "faults": [str(fault) for fault in pool.faults.faults],
        "sessions": [_row(session) for session in pool.sessions],
    }


def _row(session: Session) -> dict[str, Any]:
    now = datetime.now(UTC)
    ready = session.interpreter.done()
    return {
        "session": short(session.identifier),
        "ageSeconds": round((now - session.created_at).total_seconds(), 1),
        "idleSeconds": 0 if session.busy else round((now - session.last_accessed_at).total_seconds(), 1),
        "calls": session.uses,
        "executions": session.executed,
        "busy": session.busy,
        "memoryMiB": round(session.interpreter.result().memory() / MIB) if ready else 0,
    }


def _page(status: dict[str, Any]) -> str:
    facts = "".join(f"<tr><th>{escape(k)}<td>{escape(str(v))}" for k, v in status.items() if k != "sessions")
    columns = ["session", "ageSeconds", "idleSeconds", "calls", "executions", "busy", "memoryMiB"]
    head = "".join(f"<th>{name}" for name in columns)
    rows = "".join("<tr>" + "".join(f"<td>{row[name]}" for name in columns) for row in status["sessions"])
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>"
        f"<title>Session pool</title><style>{_STYLE}</style><h1>Session pool</h1><table>{facts}</table>"
        f"<h2>Sessions</h2><table><tr>{head}{rows}</table></html>"
    )
