"""Modules that the function app loads when it starts, and with the first invocation of a trigger."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRON = {
    "PATH": "/usr/bin",
    "PIPELINE_POOL_ENDPOINT": "http://127.0.0.1:1",
    "IMAGES": "UseDevelopmentStorage=true",
}
# A start that needs more than these is slow for every instance. The worker itself has loaded azure.functions before.
AT_START = {
    "annotated_types",
    "azure",
    "azurefunctions",
    "cython_runtime",
    "function_app",
    "markupsafe",
    "opentelemetry",
    "pipeline",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
    "werkzeug",
    "yaml",
}
PARTS_AT_START = {
    "pipeline.api",
    "pipeline.blob_binding",
    "pipeline.concurrency",
    "pipeline.engine",
    "pipeline.errors",
    "pipeline.recipes",
    "pipeline.services",
    "pipeline.settings",
    "pipeline.telemetry",
}


def loaded(statement: str = "") -> set[str]:
    """Return the modules of a process that has imported the function app and executed a statement in an event loop."""
    code = f"""
import asyncio, json, sys
import function_app

async def run():
    services = function_app.process.services()
    {statement}
    print(json.dumps(sorted(sys.modules)))
    await services.close()

asyncio.run(run()) if {bool(statement)} else print(json.dumps(sorted(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRON, capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout))


def foreign(modules: set[str]) -> set[str]:
    """Return the top-level packages that do not belong to the standard library."""
    tops = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    return {name for name in tops if not name.startswith("_")}


def test_the_start_of_the_app_loads_settings_recipes_and_the_table_of_routes_alone() -> None:
    modules = loaded()
    assert foreign(modules) <= AT_START
    assert {name for name in modules if name.startswith("azure.") and name.count(".") == 1} <= {"azure.functions"}
    parts = {name for name in modules if name.startswith("pipeline.") and name.count(".") == 1}
    assert parts <= PARTS_AT_START
    models = {"jobs", "runs", "recipes", "monitoring", "pauses", "contracts", "openapi", "submit"}
    assert not {f"pipeline.api.{name}" for name in models} & modules


OTHERS = {
    "services.dispatcher": {"pipeline.runs", "pipeline.console", "pipeline.monitoring", "pipeline.api.submit"},
    "services.run_worker": {"pipeline.console", "pipeline.monitoring", "pipeline.api.runs"},
    "from pipeline.api.handlers import Handlers; Handlers(services).jobs": {
        "pipeline.console",
        "pipeline.runs.lifecycle",
        "pipeline.jobs.dispatch",
        "pipeline.api.contracts",
        "pipeline.api.submit",
    },
}


@pytest.mark.parametrize("statement", OTHERS)
def test_an_invocation_loads_only_the_parts_of_its_trigger(statement: str) -> None:
    modules = loaded(statement)
    assert not OTHERS[statement] & modules
    assert not {"jinja2", "itsdangerous", "azure.identity", "PIL"} & modules, "a connection string needs no identity"


def test_the_blob_trigger_gets_the_name_of_the_blob_without_a_client() -> None:
    code = """
import asyncio, json, sys, types
from azurefunctions.extensions.base import Datum, get_binding_registry
import function_app

converter = get_binding_registry().get("blobTrigger")
content = json.dumps({"Connection": "IMAGES", "ContainerName": "input", "BlobName": "ä/b c.jpg"}).encode()
data = types.SimpleNamespace(content_type="application/json", content=content)
blob = converter.decode(Datum(data, "model_binding_data"), trigger_metadata={}, pytype=function_app.BlobReference)
refused = ""
try:
    converter.decode(Datum(b"the bytes of an image", "bytes"), trigger_metadata={}, pytype=function_app.BlobReference)
except ValueError as error:
    refused = str(error)
print(json.dumps([blob.container, blob.name, refused, "azure.storage.blob" in sys.modules]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ENVIRON, capture_output=True, text=True, check=True
    )
    container, name, refused, with_sdk = json.loads(result.stdout)
    assert (container, name) == ("input", "ä/b c.jpg")
    assert "'bytes'" in refused
    assert not with_sdk
