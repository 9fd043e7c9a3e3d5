"""Routes of this server's own, which exist only with `--admin`: the faults in force."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from session_pool_emulator.faults import Fault
from session_pool_emulator.pool import Pool
from session_pool_emulator.web.answers import json_response
from session_pool_emulator.web.errors import bad_request


async def get_faults(request: Request) -> Response:
    """GET .admin/faults."""
    return _faults(request.app.state.pool)


async def put_faults(request: Request) -> Response:
    """PUT .admin/faults: `{"faults": ["KIND:key=value"], "seed": 1}` in the place of what was in force."""
    pool: Pool = request.app.state.pool
    try:
        body = json.loads(await request.body())
        faults = [Fault.parse(text) for text in body.get("faults", [])]
        seed = int(body.get("seed", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise bad_request(f"The body must be {{'faults': [text], 'seed': number}}: {error}") from None
    pool.faults.set(faults, seed)
    return _faults(pool)


async def delete_faults(request: Request) -> Response:
    """DELETE .admin/faults: all is well again."""
    pool: Pool = request.app.state.pool
    pool.faults.set([])
    return Response(status_code=204)


def _faults(pool: Pool) -> Response:
    return json_response({"faults": [str(fault) for fault in pool.faults.faults]})
