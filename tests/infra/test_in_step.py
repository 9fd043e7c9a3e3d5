"""The code, the templates, the sample for a laptop and the documentation have the same settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import settings as page
from pipeline.settings import PREFIX, Settings, StorageAccount, variable
from tests.infra.bicep import File, literal, text
from tests.infra.evaluate import value, variables

ROOT = Path(__file__).parents[2]
HOST = json.loads((ROOT / "host.json").read_text())
# Settings that the templates derive from parameters of their own.
OF_THE_POOL = {"POOL_ENDPOINT", "POOL_MAX_SESSIONS", "POOL_COOLDOWN", "SESSION_CONCURRENCY"}
OF_THE_MEMORY = {
    "HTTP_MAX_BODY_BYTES",
    "HTTP_MAX_RESPONSE_BYTES",
    "HTTP_MEMORY_BYTES",
    "HTTP_CONCURRENCY",
    "INSTANCE_MEMORY_MIB",
}
DERIVED = OF_THE_POOL | OF_THE_MEMORY


@pytest.fixture
def app_settings() -> dict[str, Any]:
    """Evaluate the app settings of functions.bicep, with values in the place of Azure's."""
    main = variables(File(ROOT / "infra" / "main.bicep"), {"environmentName": "photos", "location": "westus2"})
    functions = File(ROOT / "infra" / "functions.bicep")
    given = {
        "places": main["places"],
        "client": "client-id",
        "insights": "InstrumentationKey=0",
        "poolEndpoint": "https://pool.env.westus2.azurecontainerapps.io",
        "maxSessions": main["sessions"],
        "cooldownSeconds": main["cooldownSeconds"],
        "jobsPerSession": main["jobsPerSession"],
        "jobsPerInstance": main["jobsPerInstance"],
        "uploadsPerInstance": main["uploadsPerInstance"],
        "requestsPerInstance": main["requestsPerInstance"],
        "httpBodyBytes": main["httpBodyBytes"],
        "instanceMemory": main["instanceMemory"],
        "endpoints": {kind: f"https://a.{kind}.core.windows.net/" for kind in ("blob", "queue", "table")},
    }
    known = variables(functions, given) | given
    parts = [
        value(functions.of("var")[name].value, known)
        for name in ("identitySettings", "pipelineSettings", "hostSettings")
    ]  # type: ignore[arg-type]
    return {name: each for part in parts for name, each in part.items()}


def test_the_app_starts_with_the_settings_of_the_templates(app_settings: dict[str, Any]) -> None:
    settings = Settings.load(app_settings)
    assert (settings.pool_max_sessions, settings.pool_is_custom_container) == (5, True)
    storage = StorageAccount.load(app_settings)
    assert (storage.client_id, storage.connection_string) == ("client-id", None)


def test_the_templates_use_the_default_settings(app_settings: dict[str, Any]) -> None:
    ours = {name: each for name, each in app_settings.items() if name.startswith(PREFIX)}
    for field, known in Settings.model_fields.items():
        if field.upper() not in DERIVED and variable(field) in ours:
            assert ours[variable(field)] == known.default, field
    places = {f"{kind}_container" for kind in ("input", "output", "upload", "asset", "state")} | {
        "job_queue",
        "run_queue",
        "ledger_table",
        "run_table",
    }
    assert {variable(place) for place in places} <= set(ours)


def test_the_templates_create_all_containers_queues_and_tables() -> None:
    main = variables(File(ROOT / "infra" / "main.bicep"), {"environmentName": "photos", "location": "westus2"})
    storage = File(ROOT / "infra" / "storage.bicep")
    made = variables(storage, {"places": main["places"], "deadLetters": main["deadLetters"]})["containers"]
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert {defaults[name] for name in defaults if name.endswith("_container")} <= set(made)
    tables_and_queues = {"queue": "job_queue", "runQueue": "run_queue", "ledger": "ledger_table", "runs": "run_table"}
    assert {name: main["places"][name] for name in tables_and_queues} == {
        name: defaults[setting] for name, setting in tables_and_queues.items()
    }


def test_overridden_host_settings_exist_in_host_json(app_settings: dict[str, Any]) -> None:
    for name in app_settings:
        place: Any = HOST
        if name.startswith("AzureFunctionsJobHost__"):
            for step in name.split("__")[1:]:
                place = place[step]


def test_trigger_connections_have_all_their_settings(app_settings: dict[str, Any]) -> None:
    """A blob trigger needs blobs and queues. A user-assigned identity needs both credential and clientId."""
    for connection in ("IMAGES", "AzureWebJobsStorage"):
        for setting in ("blobServiceUri", "queueServiceUri", "tableServiceUri", "credential", "clientId"):
            assert f"{connection}__{setting}" in app_settings
    assert not [name for name, each in app_settings.items() if "AccountKey" in str(each)]


def test_the_app_reads_the_dead_letters_of_the_subscription_of_the_templates() -> None:
    subscription = File(ROOT / "infra" / "events.bicep").of("resource")["subscription"]
    assert f"name: '{Settings.model_fields['event_subscription'].default}'" in text(subscription.node)


def test_the_event_subscription_names_an_existing_function() -> None:
    name = File(ROOT / "infra" / "events.bicep").of("param")["functionName"].value
    assert f"async def {literal(name)}(" in (ROOT / "function_app.py").read_text()


def test_custom_app_settings_are_valid_and_not_derived(app_settings: dict[str, Any]) -> None:
    own = json.loads((ROOT / "infra" / "app-settings.json").read_text())
    Settings.load({**app_settings, **own})
    assert not set(own) & {variable(name.lower()) for name in DERIVED}, "these follow from parameters: azd env set"


def test_the_sample_for_a_laptop_has_valid_settings() -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    Settings.load(values)
    assert StorageAccount.load(values).connection_string


def test_the_documentation_lists_every_setting() -> None:
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == page.as_markdown(), "run: image-pipeline settings --markdown > docs/settings.md"


def test_the_documentation_lists_every_deployment_variable() -> None:
    given = json.loads((ROOT / "infra" / "main.parameters.json").read_text())["parameters"].values()
    variables_of = {each["value"].strip("${}").split("=")[0] for each in given}
    by_azd_and_the_script = {"SESSION_IMAGE", *(name for name in variables_of if name.startswith("AZURE_"))}
    page_text = (ROOT / "docs" / "deploy.md").read_text()
    assert not [name for name in variables_of - by_azd_and_the_script if f"`{name}`" not in page_text]


def test_outputs_that_the_deployment_reads_exist() -> None:
    outputs = set(File(ROOT / "infra" / "main.bicep").of("output"))
    scripts = "".join((ROOT / "scripts" / name).read_text() for name in ("deploy", "lib/photo.sh", "lib/azure.sh"))
    read = set(re.findall(r"\$\(setting ([A-Z_]+)\)", scripts))
    given = (ROOT / "infra" / "main.parameters.json").read_text()
    assert {name for name in read if f"${{{name}" not in given} - {"AZURE_SUBSCRIPTION_ID"} <= outputs


def test_the_outputs_configure_the_command_line() -> None:
    """`azd env get-values` prints the outputs under the names of the settings."""
    outputs = set(File(ROOT / "infra" / "main.bicep").of("output"))
    assert {variable(name.lower()) for name in DERIVED} <= outputs
    storage = {each: "https://stimages.blob.core.windows.net/" for each in outputs if each.startswith("IMAGES__")}
    assert StorageAccount.load(storage).connection_string is None


def test_the_tutorial_page_links_every_step() -> None:
    steps = sorted(path.name for path in (ROOT / "scripts" / "az").glob("0*"))
    assert len(steps) == 9
    page_text = (ROOT / "docs" / "tutorial.md").read_text()
    assert not [step for step in steps if f"(../scripts/az/{step})" not in page_text]


def test_the_readme_explains_every_template() -> None:
    page_text = (ROOT / "infra" / "README.md").read_text()
    assert not [path.name for path in (ROOT / "infra").glob("*.bicep") if f"`{path.name}`" not in page_text]


def test_the_operations_page_lists_every_metric_alert() -> None:
    metrics = re.findall(r"metric: '(\w+)'", (ROOT / "infra" / "alerts.bicep").read_text())
    assert len(metrics) == 2
    page_text = (ROOT / "docs" / "operations.md").read_text()
    assert not [metric for metric in metrics if f"`{metric}`" not in page_text]
