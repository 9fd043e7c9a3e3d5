"""The check of `doctor` for the memory of an instance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cli.doctor import _memory
from pipeline.settings import MIB, Settings

TEMPLATE = {
    "http_concurrency": 16,
    "instance_memory_mib": 2048,
    "http_max_body_bytes": 16 * MIB,
    "http_max_response_bytes": 16 * MIB,
    "http_memory_bytes": 512 * MIB,
}


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({}, "ok", "2,048 MiB of the 2,048 MiB"),
        ({"http_concurrency": 32}, "error", "3,072 MiB of the 2,048 MiB of an instance: lower MAX_HTTP_BODY_MIB"),
        ({"http_max_body_bytes": 17 * MIB}, "error", "2,112 MiB"),
        ({"http_max_response_bytes": 100 * MIB}, "error", "INSTANCE_MEMORY"),
        ({"http_memory_bytes": 1024 * MIB}, "error", "2,560 MiB"),
        ({"instance_memory_mib": 4096, "http_concurrency": 32}, "ok", "of the 4,096 MiB"),
        ({"http_concurrency": 0}, "ok", "not limited"),
    ],
)
async def test_the_memory_of_an_instance_is_compared_with_its_requests(
    changed: dict[str, Any], status: str, says: str
) -> None:
    settings = Settings(pool_endpoint="https://pool", **{**TEMPLATE, **changed})
    services: Any = SimpleNamespace(settings=settings)
    (finding,) = await _memory(services)
    assert (finding.status, says in finding.detail) == (status, True), finding.detail
