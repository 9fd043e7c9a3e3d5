"""Names and numbers that the templates compute, evaluated from the templates' text, also for unusual input."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.memory import required_mib
from pipeline.settings import MIB, Settings
from tests.infra.bicep import File, text
from tests.infra.evaluate import variables

INFRA = Path(__file__).parents[2] / "infra"
MAIN = File(INFRA / "main.bicep")
FUNCTIONS = File(INFRA / "functions.bicep")

ODD = ["a", "x" * 64, "Photos.Of-The_(North)", "-", "..", "ends.in.a.period.", "UPPER", "123", "a--b"]
LIMITS = {
    "group": r"[\w().-]{1,89}[\w()-]",
    "storage": r"[a-z0-9]{3,24}",
    "registry": r"[a-zA-Z0-9]{5,50}",
    "app": r"[a-zA-Z0-9][a-zA-Z0-9-]{0,58}[a-zA-Z0-9]",
    "plan": r"[a-zA-Z0-9-]{1,60}",
    "identity": r"[a-zA-Z0-9][\w-]{2,127}",
    "poolIdentity": r"[a-zA-Z0-9][\w-]{2,127}",
    "eventIdentity": r"[a-zA-Z0-9][\w-]{2,127}",
    "pool": r"[a-z][a-z0-9]{2,62}",
    "environment": r"[a-z][a-z0-9-]{0,58}[a-z0-9]",
    "workspace": r"[a-zA-Z0-9][a-zA-Z0-9-]{2,61}[a-zA-Z0-9]",
    "insights": r"[^%&\\?/]{1,259}[^%&\\?/. ]",
    "topic": r"[a-zA-Z0-9-]{3,128}",
    "network": r"[a-zA-Z0-9][\w.-]{0,62}\w",
}


def computed(**params: Any) -> dict[str, Any]:
    """Return the variables of main.bicep."""
    return variables(MAIN, {"environmentName": "photos", "location": "westus2", **params})


@pytest.mark.parametrize("environment", ODD)
@pytest.mark.parametrize("location", ["westus2", "australiasoutheast", "North Central US (Stage)"])
def test_every_name_is_valid_on_azure(environment: str, location: str) -> None:
    names = computed(environmentName=environment, location=location)["names"]
    assert set(names) == set(LIMITS)
    assert not {name: names[name] for name, form in LIMITS.items() if not re.fullmatch(form, names[name])}


def test_two_installations_never_share_a_name() -> None:
    one, other, elsewhere = computed(), computed(environmentName="photos2"), computed(location="westeurope")
    for name in set(LIMITS) - {"group"}:
        assert len({each["names"][name] for each in (one, other, elsewhere)}) == 3


def test_pools_of_two_kinds_never_share_a_name() -> None:
    """Azure cannot change the kind of a pool, so another kind is another pool."""
    python, image = (computed(poolKind=kind)["names"]["pool"] for kind in ("python", "image"))
    assert python != image
    assert computed(preset="production")["names"]["pool"] == image


@pytest.mark.parametrize(
    ("params", "waits"),
    [
        ({"preset": "production"}, True),
        ({"preset": "production", "sessionImage": "r.azurecr.io/i:1"}, False),
        ({"preset": "try"}, False),
    ],
)
def test_the_app_is_not_deployed_before_its_pool_has_an_image(params: dict[str, Any], waits: bool) -> None:
    assert computed(**params)["waits"] is waits
    assert text(MAIN.of("module")["app"].node).startswith("module app 'functions.bicep' = if (!waits) {")


@pytest.mark.parametrize("sessions", [1, 2, 5, 7, 20, 33, 100, 599, 600])
@pytest.mark.parametrize("depth", [1, 2, 3, 8])
@pytest.mark.parametrize("least", [1, 40, 1000])
def test_the_instances_fill_the_pool_and_hardly_more(sessions: int, depth: int, least: int) -> None:
    found = computed(maxSessions=sessions, jobsPerSession=depth, leastInstances=least)
    instances, each, capacity = found["instances"], found["jobsPerInstance"], sessions * depth
    assert max(1, least) <= instances <= 1000
    assert 1 <= each <= 16
    assert instances * each <= max(capacity, instances), "more concurrent jobs than the pool can execute"
    assert instances * each > capacity - instances, "sessions would be idle"
    uploads = found["uploadsPerInstance"]
    assert each <= uploads
    assert instances * uploads <= max(12 * sessions, instances), "more concurrent uploads than requested"


@pytest.mark.parametrize("memory", [2048, 4096])
@pytest.mark.parametrize("body", [1, 5, 16, 50, 100])
def test_the_concurrent_requests_of_an_instance_fit_its_memory(memory: int, body: int) -> None:
    found = computed(instanceMemory=memory, httpBodyMemory=body)
    requests = found["requestsPerInstance"]
    settings = Settings(
        pool_endpoint="https://pool",
        http_concurrency=requests,
        http_max_body_bytes=body * MIB,
        http_max_response_bytes=body * MIB,
        http_memory_bytes=requests * 2 * body * MIB,
    )
    assert requests >= 1
    assert required_mib(settings) <= memory
    assert requests == 32 or required_mib(settings) > memory - 6 * body, "one more request would fit"
    given = {"requestsPerInstance": requests, "httpBodyBytes": found["httpBodyBytes"], "jobsPerInstance": 1}
    host = variables(FUNCTIONS, {**given, "uploadsPerInstance": 1})["hostSettings"]
    assert int(host["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"]) > body * MIB, "the app answers with a problem document"


@pytest.mark.parametrize("jobs", range(1, 17))
def test_batch_size_and_threshold_add_up_to_the_concurrency(jobs: int) -> None:
    settings = variables(FUNCTIONS, {"jobsPerInstance": jobs, "uploadsPerInstance": 6 * jobs, "httpBodyBytes": 1})[
        "hostSettings"
    ]
    batch = int(settings["AzureFunctionsJobHost__extensions__queues__batchSize"])
    threshold = int(settings["AzureFunctionsJobHost__extensions__queues__newBatchThreshold"])
    assert (batch + threshold, 1 <= batch <= 32, threshold >= 0) == (jobs, True, True)
    assert settings["AzureFunctionsJobHost__extensions__blobs__maxDegreeOfParallelism"] == str(6 * jobs)


@pytest.mark.parametrize(
    ("params", "kind", "sessions", "ready"),
    [
        ({"preset": "try"}, "python", 5, 0),
        ({"preset": "production"}, "image", 20, 2),
        ({"preset": "try", "poolKind": "image"}, "image", 5, 0),
        ({"preset": "production", "poolKind": "python"}, "python", 20, 0),
        ({"preset": "production", "maxSessions": 1}, "image", 1, 1),
        ({"preset": "production", "maxSessions": 600, "readySessions": 600}, "image", 600, 600),
        ({"preset": "production", "readySessions": 0}, "image", 20, 0),
    ],
)
def test_explicit_values_override_presets(params: dict[str, Any], kind: str, sessions: int, ready: int) -> None:
    found = computed(**params)
    assert (found["kind"], found["sessions"], found["ready"]) == (kind, sessions, ready)
