"""scripts/deploy: what it does, in which order, and nothing twice."""

from __future__ import annotations

import itertools
import re
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline import recipes
from pipeline.api.failures import RetryRequest
from pipeline.api.preview import PreviewRendition
from pipeline.api.recipes import RecipeDocument
from pipeline.api.runs import PlanDocument
from pipeline.api.schemas import ErrorDocument, JobDocument
from tests.images import form
from tests.infra.azure import GOOD, LOOKING, ROOT, TRY, Azure, in_order, subscription
from tests.infra.bicep import File


@dataclass(frozen=True)
class First:
    """The first deployment: what it said, what it asked, what was there afterwards."""

    told: subprocess.CompletedProcess[str]
    calls: list[str]
    state: dict[str, Any]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    """Run once for all tests that only look at it."""
    azure = subscription(tmp_path_factory.mktemp("azure"))
    told = azure.run("deploy", *TRY)
    return First(told, azure.calls(), azure.state)


def test_an_empty_subscription_becomes_a_running_pipeline(first: First) -> None:
    assert first.told.returncode == 0, first.told.stderr
    changing = [call for call in first.calls if not call.startswith(LOOKING)]
    assert [call.split(" --")[0] for call in changing] == [
        "azd provision",
        "azd deploy",
        "az deployment group create",
        "az storage blob upload",
        "az storage blob delete-batch",
        "az storage blob delete",
    ]
    assert "renditions after" in first.told.stderr
    assert "large.webp" in first.told.stdout
    assert first.state["environments"]["photos"]["AZURE_LOCATION"] == "westus2"


def test_everything_is_looked_at_before_anything_is_made(first: First) -> None:
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


def test_a_second_run_does_the_same_again_and_makes_nothing_twice(azure: Azure) -> None:
    azure.run("deploy", *TRY)
    before = azure.changing()
    told = azure.run("deploy", "photos", "--yes")
    assert told.returncode == 0, told.stderr
    again = azure.calls()
    assert not [call for call in again if call.startswith("azd env new")]
    assert [call.split(" --")[0] for call in again if not call.startswith(LOOKING)] == [
        call.split(" --")[0] for call in before
    ]


def test_the_subscription_to_events_gets_every_parameter_that_the_template_needs(first: First) -> None:
    (call,) = [call for call in first.calls if call.startswith("az deployment group create")]
    template = File(ROOT / "infra" / "events.bicep")
    needed = {name for name, param in template.of("param").items() if param.value is None}
    given = dict(word.split("=", 1) for word in call.split("--parameters ")[1].split())
    assert set(given) == needed
    assert all(given.values())


def test_the_photo_goes_where_the_recipes_as_shipped_take_it_up(first: First) -> None:
    (call,) = [call for call in first.calls if call.startswith("az storage blob upload")]
    source = call.split("--name ")[1].split()[0]
    loaded = recipes.load(ROOT / "recipes.yaml", input_container="input", output_container="output")
    (recipe,) = [recipe for recipe in loaded if recipe.matches(source)]
    assert recipe.name == "web"
    assert form((ROOT / "scripts" / "az" / "photo.jpg").read_bytes()) == "JPEG"


def test_the_photo_is_waited_for_whole_and_leaves_nothing(azure: Azure) -> None:
    azure.change(recipes={"web": True, "tutorial": False, "sheet": True})
    told = azure.run("deploy", *TRY)
    assert told.returncode == 0, told.stderr
    for rendition in ("web", "sheet"):
        assert re.search(rf"{rendition}/deploy-check/\d+.jpg/small.avif", told.stdout)
    assert (azure.state["renditions"], azure.state["blobs"]) == ([], [])


def test_a_photo_that_came_before_the_roles_did_is_tried_again(azure: Azure) -> None:
    azure.change(failing="pool_denied")
    told = azure.run("deploy", *TRY)
    assert told.returncode == 0, told.stderr
    assert azure.state["renditions"] == []


def test_a_photo_that_no_recipe_takes_is_said_to_be_none(azure: Azure) -> None:
    azure.change(recipes={"mine": False})
    told = azure.run("deploy", *TRY)
    assert told.returncode == 0, told.stderr
    assert "no recipe matches deploy-check/" in told.stderr
    assert "Deployed." in told.stderr
    assert azure.state["blobs"] == []


def test_the_app_answers_as_the_check_reads_it() -> None:
    assert list(RecipeDocument.model_fields)[:2] == ["name", "description"]
    assert PlanDocument.model_fields["jobs"].annotation is int
    assert {"state", "recipe", "error"} <= set(JobDocument.model_fields)
    assert {"kind", "message"} <= set(ErrorDocument.model_fields)
    assert "prefix" in RetryRequest.model_fields
    assert "path" in PreviewRendition.model_fields


def test_a_pool_with_its_own_image_gets_registry_and_image_first(azure: Azure) -> None:
    told = azure.run("deploy", *TRY, "--preset", "production")
    assert told.returncode == 0, told.stderr
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


def test_a_deployment_from_another_machine_keeps_the_app_at_its_pool(azure: Azure) -> None:
    assert azure.run("deploy", *TRY, "--preset", "production").returncode == 0
    azure.change(environments={}, provisioned=[])
    told = azure.run("deploy", "photos", "--preset", "production", "--yes")
    assert told.returncode == 0, told.stderr
    images = [each["SESSION_IMAGE"] for each in azure.state["provisioned"]]
    assert len(images) == 1
    assert images[0], "provisioned without an image, though there is one"


def test_what_was_deleted_by_hand_is_made_again(azure: Azure) -> None:
    assert azure.run("deploy", *TRY).returncode == 0
    azure.change(account={}, pools={})
    assert azure.run("deploy", "photos", "--yes").returncode == 0
    assert azure.state["account"] == {"sku": "Standard_LRS", "public": "Enabled"}
    assert azure.state["pools"] == {"sessionspythonabc": "python"}


def test_a_pool_of_another_kind_takes_its_place_beside_the_one_before(azure: Azure) -> None:
    assert azure.run("deploy", *TRY).returncode == 0
    told = azure.run("deploy", "photos", "--set", "SESSION_POOL_KIND=image", "--yes")
    assert told.returncode == 0, told.stderr
    assert "sessionpool delete --resource-group rg-photos-images --name sessionspythonabc" in told.stderr
    assert azure.state["pools"] == {"sessionspythonabc": "python", "sessionsimageabc": "image"}


def test_an_installation_grows_into_production_with_the_storage_that_it_has(azure: Azure) -> None:
    assert azure.run("deploy", *TRY).returncode == 0
    more = ("--preset", "production", "--set", "STORAGE_REDUNDANCY=Standard_LRS", "--yes")
    told = azure.run("deploy", "photos", *more)
    assert told.returncode == 0, told.stderr
    assert azure.state["account"]["sku"] == "Standard_LRS"
    assert azure.run("deploy", "photos", "--yes").returncode == 0


def test_settings_given_once_are_kept(azure: Azure) -> None:
    given = ("--set", "MAX_SESSIONS=50", "--set", "ALERT_EMAIL=ops@example.com")
    assert azure.run("deploy", *TRY, *given).returncode == 0
    assert azure.run("deploy", "photos", "--yes").returncode == 0
    kept = azure.state["environments"]["photos"]
    assert (kept["MAX_SESSIONS"], kept["ALERT_EMAIL"]) == ("50", "ops@example.com")


def test_a_region_is_one_however_it_is_written(azure: Azure) -> None:
    assert azure.run("deploy", "photos", "--location", "West US 2", "--yes").returncode == 0
    assert azure.state["environments"]["photos"]["AZURE_LOCATION"] == "westus2"
    told = azure.run("deploy", "photos", "--location", "westus2", "--yes")
    assert told.returncode == 0, told.stderr


def test_closed_storage_stays_closed_until_it_is_said_to_be_opened(azure: Azure) -> None:
    assert azure.run("deploy", *TRY, "--set", "ISOLATE_NETWORK=true").returncode == 0
    azure.change(environments={})
    elsewhere = (*TRY, "--preset", "try")
    told = azure.run("deploy", *elsewhere)
    assert told.returncode == 1
    assert "closed to the public network" in told.stderr
    assert azure.run("deploy", *elsewhere, "--set", "ISOLATE_NETWORK=false").returncode == 0
    assert azure.state["account"]["public"] == "Enabled"


def test_an_engine_builds_the_image_where_there_is_one(azure: Azure) -> None:
    azure.change(engine=True)
    told = azure.run("deploy", *TRY, "--preset", "production")
    assert told.returncode == 0, told.stderr
    calls = azure.calls()
    assert in_order(calls, "docker build", "az acr login", "docker push")
    assert not [call for call in calls if call.startswith("az acr build")]


def test_storage_that_is_closed_is_tried_through_the_app(azure: Azure) -> None:
    told = azure.run("deploy", *TRY, "--set", "ISOLATE_NETWORK=true")
    assert told.returncode == 0, told.stderr
    calls = azure.calls()
    (request,) = [call for call in calls if call.endswith("https://func-images-abc.azurewebsites.net/api/preview")]
    assert "--form recipe=web" in request
    assert "key-of-the-stand-in" not in "".join(calls), "a key among the arguments of a program"
    assert not [call for call in calls if call.startswith("az storage blob")]


@pytest.mark.parametrize("preset", ["try", "production"])
def test_what_if_changes_nothing(azure: Azure, preset: str) -> None:
    azure.change(providers=[])
    told = azure.run("deploy", *TRY, "--preset", preset, "--what-if")
    assert told.returncode == 0, told.stderr
    calls = azure.calls()
    assert [call for call in calls if not call.startswith(LOOKING)] == []
    assert [call for call in calls if call.startswith("azd provision --preview")]
    assert "would register the resource provider Microsoft.App" in told.stderr


def test_what_if_leaves_no_trace_for_the_next_deployment(azure: Azure) -> None:
    assert azure.run("deploy", *TRY, "--preset", "production", "--what-if").returncode == 0
    assert azure.state["environments"] == {}
    assert azure.run("deploy", *TRY, "--set", "MAX_SESSIONS=7").returncode == 0
    before = azure.state["environments"]
    look = ("--set", "MAX_SESSIONS=9", "--set", "MAX_SESSIONS=10", "--what-if")
    assert azure.run("deploy", "photos", *look).returncode == 0
    assert azure.state["environments"] == before


def test_a_network_of_its_own_needs_its_provider(azure: Azure) -> None:
    azure.change(providers=[each for each in GOOD["providers"] if each != "Microsoft.Network"])
    assert azure.run("deploy", *TRY).returncode == 0
    assert not [call for call in azure.changing() if "register" in call]
    assert azure.run("deploy", *TRY, "--set", "ISOLATE_NETWORK=true").returncode == 0
    assert azure.changing()[0].startswith("az provider register --namespace Microsoft.Network")


def test_providers_are_registered_where_they_are_not(azure: Azure) -> None:
    azure.change(providers=[each for each in GOOD["providers"] if each != "Microsoft.App"])
    assert azure.run("deploy", *TRY).returncode == 0
    assert azure.changing()[0] == "az provider register --namespace Microsoft.App --wait --output none"


@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_nothing_happens_without_a_yes(azure: Azure, typed: str) -> None:
    told = azure.run("deploy", "photos", "--location", "westus2", typed=typed)
    assert told.returncode == 1
    assert "nothing was done" in told.stderr
    assert azure.changing() == []


@pytest.mark.parametrize("arguments", [[], ["a b"], ["-x"], ["photos", "more"], ["$(id)"], ["p", "--set", "a=b c"]])
def test_arguments_that_make_no_sense_show_how_it_is_called(azure: Azure, arguments: list[str]) -> None:
    for script in ("deploy", "teardown"):
        if script == "deploy" or not {"--preset", "--set"} & set(arguments):
            told = azure.run(script, *arguments)
            assert told.returncode == 2
            assert f"scripts/{script} NAME" in told.stderr
    assert azure.calls() == []
