"""Handlers of `/.admin/faults`, which exists only with `--admin` and not in the service."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from session_pool_emulator.faults import Fault
from session_pool_emulator.pool import Pool
from session_pool_emulator.web.errors import bad_request
from session_pool_emulator.web.responses import json_response


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
