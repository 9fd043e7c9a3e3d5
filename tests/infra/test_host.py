"""host.json as the Functions host reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT.parent / "shared" / "reference" / "host.schema.json"


@pytest.fixture
def host() -> dict[str, Any]:
    """Read host.json."""
    loaded: dict[str, Any] = json.loads((ROOT / "host.json").read_text())
    return loaded


@pytest.mark.skipif(not SCHEMA.exists(), reason="no published schema of host.json beside the repository")
def test_it_fits_the_published_schema(host: dict[str, Any]) -> None:
    schema = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
    assert [str(error) for error in schema.iter_errors(host)] == []
    host["extensions"]["queues"]["batchSize"] = "eight"
    assert not schema.is_valid(host)


def test_the_function_timeout_exceeds_all_timeouts_within(host: dict[str, Any]) -> None:
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    longest = defaults["slot_acquire_timeout"] + defaults["job_timeout"] + defaults["retry_timeout"]
    assert hours * 3600 + minutes * 60 + seconds > longest


def test_the_host_keeps_the_batch_sizes_fixed(host: dict[str, Any]) -> None:
    """The pool has a fixed number of sessions, so the batch sizes are fixed, too."""
    assert host["concurrency"]["dynamicConcurrencyEnabled"] is False
    assert host["extensions"]["queues"]["messageEncoding"] == "base64"
