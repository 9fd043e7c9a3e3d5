"""scripts/deploy: its steps, their order, and a second deployment."""

from __future__ import annotations

import itertools
import re
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline import recipes
from pipeline.api.jobs import RetryRequest
from pipeline.api.recipes import PreviewRendition, RecipeDocument
from pipeline.api.runs import PlanDocument
from pipeline.api.schemas import ErrorDocument, JobDocument
from tests.images import detect_format
from tests.infra.azure import GOOD, LOOKING, ROOT, TRY, Azure, in_order, subscription
from tests.infra.bicep import File


@dataclass(frozen=True)
class First:
    """The first deployment: its output, its calls, and the state after it."""

    result: subprocess.CompletedProcess[str]
    calls: list[str]
    state: dict[str, Any]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    """Deploy once for all tests that only read the result."""
    azure = subscription(tmp_path_factory.mktemp("azure"))
    result = azure.run("deploy", *TRY)
    return First(result, azure.calls(), azure.state)


def test_an_empty_subscription_becomes_a_running_pipeline(first: First) -> None:
    assert first.result.returncode == 0, first.result.stderr
    changing = [call for call in first.calls if not call.startswith(LOOKING)]
    assert [call.split(" --")[0] for call in changing] == [
        "azd provision",
        "azd deploy",
        "az deployment group create",
        "az storage blob upload",
        "az storage blob delete-batch",
        "az storage blob delete",
    ]
    assert "renditions after" in first.result.stderr
    assert "large.webp" in first.result.stdout
    assert first.state["environments"]["photos"]["AZURE_LOCATION"] == "westus2"


def test_all_checks_run_before_the_first_change(first: First) -> None:
    looked = list(itertools.takewhile(lambda call: call.startswith(LOOKING), first.calls))
    for start in (
        "az version",
        "azd version",
        "az account show",
        "azd auth",
        "az provider show",
        "az provider list",
        "az role assignment list",
    ):
        assert any(call.startswith(start) for call in looked), start


def test_a_second_deployment_repeats_the_steps(azure: Azure) -> None:
    azure.run("deploy", *TRY)
    before = azure.changing()
    result = azure.run("deploy", "photos", "--yes")
    assert result.returncode == 0, result.stderr
    again = azure.calls()
    assert not [call for call in again if call.startswith("azd env new")]
    assert [call.split(" --")[0] for call in again if not call.startswith(LOOKING)] == [
        call.split(" --")[0] for call in before
    ]


def test_the_event_subscription_gets_all_required_parameters(first: First) -> None:
    (call,) = [call for call in first.calls if call.startswith("az deployment group create")]
    template = File(ROOT / "infra" / "events.bicep")
    needed = {name for name, param in template.of("param").items() if param.value is None}
    given = dict(word.split("=", 1) for word in call.split("--parameters ")[1].split())
    assert set(given) == needed
    assert all(given.values())


def test_the_photo_matches_the_shipped_recipe(first: First) -> None:
    (call,) = [call for call in first.calls if call.startswith("az storage blob upload")]
    source = call.split("--name ")[1].split()[0]
    loaded = recipes.load(ROOT / "recipes.yaml")
    (recipe,) = [recipe for recipe in loaded if recipe.matches(source)]
    assert recipe.name == "web"
    assert detect_format((ROOT / "scripts" / "az" / "photo.jpg").read_bytes()) == "JPEG"


def test_the_photo_check_awaits_all_renditions_and_cleans_up(azure: Azure) -> None:
    azure.change(recipes={"web": True, "tutorial": False, "sheet": True})
    result = azure.run("deploy", *TRY)
    assert result.returncode == 0, result.stderr
    for rendition in ("web", "sheet"):
        assert re.search(rf"{rendition}/deploy-check/\d+.jpg/small.avif", result.stdout)
    assert (azure.state["renditions"], azure.state["blobs"]) == ([], [])


def test_a_photo_uploaded_before_the_roles_is_retried(azure: Azure) -> None:
    azure.change(failing="pool_denied")
    result = azure.run("deploy", *TRY)
    assert result.returncode == 0, result.stderr
    assert azure.state["renditions"] == []


def test_a_photo_without_a_matching_recipe_is_reported(azure: Azure) -> None:
    azure.change(recipes={"mine": False})
    result = azure.run("deploy", *TRY)
    assert result.returncode == 0, result.stderr
    assert "no recipe matches deploy-check/" in result.stderr
    assert "Deployed." in result.stderr
    assert azure.state["blobs"] == []


def test_the_responses_have_the_fields_that_the_check_reads() -> None:
    assert list(RecipeDocument.model_fields)[:2] == ["name", "description"]
    assert PlanDocument.model_fields["jobs"].annotation is int
    assert {"state", "recipe", "error"} <= set(JobDocument.model_fields)
    assert {"kind", "message"} <= set(ErrorDocument.model_fields)
    assert "prefix" in RetryRequest.model_fields
    assert "path" in PreviewRendition.model_fields


def test_a_custom_image_pool_gets_registry_and_image_first(azure: Azure) -> None:
    result = azure.run("deploy", *TRY, "--preset", "production")
    assert result.returncode == 0, result.stderr
    changing = azure.changing()
    assert in_order(
        changing, "azd provision", "az acr build", "azd provision", "azd deploy", "az deployment group create"
    )
    image = azure.state["environments"]["photos"]["SESSION_IMAGE"]
    assert image.startswith("crimagesabc.azurecr.io/image-pipeline-session:")
    again = azure.run("deploy", "photos", "--yes")
    assert again.returncode == 0, again.stderr
    changing = azure.changing()
    assert sum(call.startswith("azd provision") for call in changing) == 1
    assert not [call for call in changing if "acr build" in call], "the image is there already"


def test_a_deployment_from_another_machine_keeps_the_pool(azure: Azure) -> None:
    assert azure.run("deploy", *TRY, "--preset", "production").returncode == 0
    azure.change(environments={}, provisioned=[])
    result = azure.run("deploy", "photos", "--preset", "production", "--yes")
    assert result.returncode == 0, result.stderr
    images = [each["SESSION_IMAGE"] for each in azure.state["provisioned"]]
    assert len(images) == 1
    assert images[0], "provisioned without an image, though there is one"


def test_manually_deleted_resources_are_recreated(azure: Azure) -> None:
    assert azure.run("deploy", *TRY).returncode == 0
    azure.change(account={}, pools={})
    assert azure.run("deploy", "photos", "--yes").returncode == 0
    assert azure.state["account"] == {"sku": "Standard_LRS", "public": "Enabled"}
    assert azure.state["pools"] == {"sessionspythonabc": "python"}


def test_a_pool_of_another_kind_does_not_replace_the_old_one(azure: Azure) -> None:
    assert azure.run("deploy", *TRY).returncode == 0
    result = azure.run("deploy", "photos", "--set", "SESSION_POOL_KIND=image", "--yes")
    assert result.returncode == 0, result.stderr
    assert "sessionpool delete --resource-group rg-photos-images --name sessionspythonabc" in result.stderr
    assert azure.state["pools"] == {"sessionspythonabc": "python", "sessionsimageabc": "image"}


def test_an_installation_becomes_production_with_its_storage(azure: Azure) -> None:
    assert azure.run("deploy", *TRY).returncode == 0
    more = ("--preset", "production", "--set", "STORAGE_REDUNDANCY=Standard_LRS", "--yes")
    result = azure.run("deploy", "photos", *more)
    assert result.returncode == 0, result.stderr
    assert azure.state["account"]["sku"] == "Standard_LRS"
    assert azure.run("deploy", "photos", "--yes").returncode == 0


def test_settings_are_remembered(azure: Azure) -> None:
    given = ("--set", "MAX_SESSIONS=50", "--set", "ALERT_EMAIL=ops@example.com")
    assert azure.run("deploy", *TRY, *given).returncode == 0
    assert azure.run("deploy", "photos", "--yes").returncode == 0
    kept = azure.state["environments"]["photos"]
    assert (kept["MAX_SESSIONS"], kept["ALERT_EMAIL"]) == ("50", "ops@example.com")


def test_both_spellings_of_a_region_are_equal(azure: Azure) -> None:
    assert azure.run("deploy", "photos", "--location", "West US 2", "--yes").returncode == 0
    assert azure.state["environments"]["photos"]["AZURE_LOCATION"] == "westus2"
    result = azure.run("deploy", "photos", "--location", "westus2", "--yes")
    assert result.returncode == 0, result.stderr


def test_closed_storage_is_opened_only_on_request(azure: Azure) -> None:
    assert azure.run("deploy", *TRY, "--set", "ISOLATE_NETWORK=true").returncode == 0
    azure.change(environments={})
    elsewhere = (*TRY, "--preset", "try")
    result = azure.run("deploy", *elsewhere)
    assert result.returncode == 1
    assert "closed to the public network" in result.stderr
    assert azure.run("deploy", *elsewhere, "--set", "ISOLATE_NETWORK=false").returncode == 0
    assert azure.state["account"]["public"] == "Enabled"


def test_a_container_engine_builds_the_image_if_it_runs(azure: Azure) -> None:
    azure.change(engine=True)
    result = azure.run("deploy", *TRY, "--preset", "production")
    assert result.returncode == 0, result.stderr
    calls = azure.calls()
    assert in_order(calls, "docker build", "az acr login", "docker push")
    assert not [call for call in calls if call.startswith("az acr build")]


def test_closed_storage_is_checked_through_the_app(azure: Azure) -> None:
    result = azure.run("deploy", *TRY, "--set", "ISOLATE_NETWORK=true")
    assert result.returncode == 0, result.stderr
    calls = azure.calls()
    (request,) = [call for call in calls if call.endswith("https://func-images-abc.azurewebsites.net/api/preview")]
    assert "--form recipe=web" in request
    assert "key-of-the-stand-in" not in "".join(calls), "a key among the arguments of a program"
    assert not [call for call in calls if call.startswith("az storage blob")]


@pytest.mark.parametrize("preset", ["try", "production"])
def test_what_if_changes_nothing(azure: Azure, preset: str) -> None:
    azure.change(providers=[])
    result = azure.run("deploy", *TRY, "--preset", preset, "--what-if")
    assert result.returncode == 0, result.stderr
    calls = azure.calls()
    assert [call for call in calls if not call.startswith(LOOKING)] == []
    assert [call for call in calls if call.startswith("azd provision --preview")]
    assert "would register the resource provider Microsoft.App" in result.stderr


def test_what_if_leaves_no_trace_for_the_next_deployment(azure: Azure) -> None:
    assert azure.run("deploy", *TRY, "--preset", "production", "--what-if").returncode == 0
    assert azure.state["environments"] == {}
    assert azure.run("deploy", *TRY, "--set", "MAX_SESSIONS=7").returncode == 0
    before = azure.state["environments"]
    look = ("--set", "MAX_SESSIONS=9", "--set", "MAX_SESSIONS=10", "--what-if")
    assert azure.run("deploy", "photos", *look).returncode == 0
    assert azure.state["environments"] == before


def test_an_isolated_network_needs_its_provider(azure: Azure) -> None:
    azure.change(providers=[each for each in GOOD["providers"] if each != "Microsoft.Network"])
    assert azure.run("deploy", *TRY).returncode == 0
    assert not [call for call in azure.changing() if "register" in call]
    assert azure.run("deploy", *TRY, "--set", "ISOLATE_NETWORK=true").returncode == 0
    assert azure.changing()[0].startswith("az provider register --namespace Microsoft.Network")


def test_missing_providers_are_registered(azure: Azure) -> None:
    azure.change(providers=[each for each in GOOD["providers"] if each != "Microsoft.App"])
    assert azure.run("deploy", *TRY).returncode == 0
    assert azure.changing()[0] == "az provider register --namespace Microsoft.App --wait --output none"


@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_a_deployment_needs_a_confirmation(azure: Azure, typed: str) -> None:
    result = azure.run("deploy", "photos", "--location", "westus2", typed=typed)
    assert result.returncode == 1
    assert "nothing was done" in result.stderr
    assert azure.changing() == []


@pytest.mark.parametrize("arguments", [[], ["a b"], ["-x"], ["photos", "more"], ["$(id)"], ["p", "--set", "a=b c"]])
def test_invalid_arguments_print_the_usage(azure: Azure, arguments: list[str]) -> None:
    for script in ("deploy", "teardown"):
        if script == "deploy" or not {"--preset", "--set"} & set(arguments):
            result = azure.run(script, *arguments)
            assert result.returncode == 2
            assert f"scripts/{script} NAME" in result.stderr
    assert azure.calls() == []
