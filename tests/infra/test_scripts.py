"""The scripts for Azure, run against a stand-in for `az`, `azd` and `docker` that writes every call down."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import recipes
from tests.images import form, sides
from tests.infra import standin
from tests.infra.bicep import File

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "az_version": "2.80.0",
    "azd_version": "1.21.1",
    "signed_in": True,
    "azd_signed_in": True,
    "subscription": "00000000-1111-2222-3333-444444444444",
    "environments": {},
    "providers": [
        f"Microsoft.{each}"
        for each in (
            "App",
            "Web",
            "Storage",
            "EventGrid",
            "Insights",
            "OperationalInsights",
            "ManagedIdentity",
            "ContainerRegistry",
        )
    ],
    "roles": ["Owner"],
    "usage": ["0.0", "5.0"],
    "registries": [],
    "images": [],
    "engine": False,
    "groups": [],
    "blobs": [],
    "code": False,
    "pool": "",
    "broken": {},
}
# The starts of calls that change nothing on Azure.
LOOKING = (
    "az version",
    "az account ",
    "az ad ",
    "az provider show",
    "az provider list",
    "az functionapp list",
    "az functionapp keys list",
    "az role assignment list",
    "az containerapp list-usages",
    "az containerapp sessionpool show",
    "az acr show",
    "az acr repository show",
    "az acr login",
    "az storage blob list",
    "az identity show",
    "az group list",
    "az group exists",
    "az resource list",
    "az monitor log-analytics workspace list",
    "az deployment sub list",
    "azd version",
    "azd auth",
    "azd env",
    "azd provision --preview",
    "docker info",
    "podman info",
)


@dataclass
class Azure:
    """The stand-in: what is there, and what was asked."""

    place: Path

    @property
    def state(self) -> dict[str, Any]:
        """What is there."""
        loaded: dict[str, Any] = json.loads((self.place / "state.json").read_text())
        return loaded

    def change(self, **changes: Any) -> None:
        """Make something else be there."""
        (self.place / "state.json").write_text(json.dumps({**self.state, **changes}))

    def calls(self) -> list[str]:
        """Every call since the last look, as one line each."""
        path = self.place / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [" ".join(json.loads(line)) for line in lines]

    def changing(self) -> list[str]:
        """Those of the calls since the last look that change something on Azure."""
        return [call for call in self.calls() if not call.startswith(LOOKING)]

    def run(self, script: str, *arguments: str, typed: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the project with the stand-in in the place of the real programs."""
        environ = {
            "PATH": f"{self.place}/bin:/usr/bin:/bin",
            "STANDIN": str(self.place),
            "HOME": str(self.place),
            **environ,
        }
        return subprocess.run(
            [ROOT / "scripts" / script, *arguments],
            env={"DEPLOY_PAUSE": "0", "DEPLOY_TRIES": "3", **environ},
            input=typed,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def subscription(place: Path) -> Azure:
    """An empty subscription in which everything is allowed."""
    (place / "bin").mkdir()
    for program in ("az", "azd", "docker", "podman"):
        path = place / "bin" / program
        path.write_text(f"#!{sys.executable} -IS\n{Path(standin.__file__).read_text()}")
        path.chmod(0o755)
    (place / "state.json").write_text(json.dumps(GOOD))
    return Azure(place)


@pytest.fixture
def azure(tmp_path: Path) -> Azure:
    """A subscription of the test's own."""
    return subscription(tmp_path)


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


def in_order(calls: list[str], *starts: str) -> bool:
    """Whether calls that start like this are among them, in this order."""
    rest = iter(calls)
    return all(any(call.startswith(start) for call in rest) for start in starts)


TRY = ("photos", "--location", "westus2", "--yes")


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


def test_an_engine_builds_the_image_where_there_is_one(azure: Azure) -> None:
    azure.change(engine=True)
    told = azure.run("deploy", *TRY, "--preset", "production")
    assert told.returncode == 0, told.stderr
    calls = azure.calls()
    assert in_order(calls, "docker build", "az acr login", "docker push")
    assert not [call for call in calls if call.startswith("az acr build")]


@pytest.mark.parametrize("preset", ["try", "production"])
def test_what_if_changes_nothing(azure: Azure, preset: str) -> None:
    azure.change(providers=[])
    told = azure.run("deploy", *TRY, "--preset", preset, "--what-if")
    assert told.returncode == 0, told.stderr
    calls = azure.calls()
    assert [call for call in calls if not call.startswith(LOOKING)] == []
    assert [call for call in calls if call.startswith("azd provision --preview")]
    assert "would register the resource provider Microsoft.App" in told.stderr


def test_providers_are_registered_where_they_are_not(azure: Azure) -> None:
    azure.change(providers=[each for each in GOOD["providers"] if each != "Microsoft.App"])
    assert azure.run("deploy", *TRY).returncode == 0
    assert azure.changing()[0] == "az provider register --namespace Microsoft.App --wait --output none"


def test_nothing_happens_without_a_yes(azure: Azure) -> None:
    told = azure.run("deploy", "photos", "--location", "westus2", typed="n\n")
    assert told.returncode == 1
    assert "nothing was done" in told.stderr
    assert azure.changing() == []


BEFORE = [
    ({"az_version": "2.1.0"}, [], "az 2.1.0 is too old", "az upgrade"),
    ({"azd_version": "1.0.0"}, [], "azd 1.0.0 is too old", "aka.ms/azd-install"),
    ({"signed_in": False}, [], "not signed in to Azure", "az login"),
    ({"azd_signed_in": False}, [], "azd is not signed in", "azd auth login"),
    ({}, ["--subscription", "another"], "not another", "az account set --subscription 'another'"),
    ({}, ["--location", "Atlantis"], "session pools are not offered in Atlantis", "West US 2"),
    ({}, ["--location", "northeurope"], "Flex Consumption is not offered", "list-flexconsumption-locations"),
    ({"roles": ["Reader"]}, [], "may not make resources", "--role Contributor"),
    ({"roles": ["Contributor"]}, [], "may not give the app its roles", "Role Based Access Control Administrator"),
    ({"usage": ["5.0", "5.0"]}, ["--preset", "production"], "quota of Container Apps environments", "aka.ms/azquotas"),
    (
        {"environments": {"photos": {"AZURE_SUBSCRIPTION_ID": "older"}}},
        [],
        "photos was deployed to the subscription older",
        "az account set --subscription older",
    ),
    (
        {"providers": [], "broken": {"az provider register": "AuthorizationFailed"}},
        [],
        "Microsoft.App cannot be registered",
        "ask an owner of the subscription",
    ),
]


@pytest.mark.parametrize(("there", "arguments", "wrong", "mend"), BEFORE, ids=[each[2][:40] for each in BEFORE])
def test_what_would_go_wrong_is_said_before_anything_is_made(
    azure: Azure, there: dict[str, Any], arguments: list[str], wrong: str, mend: str
) -> None:
    azure.change(**there)
    told = azure.run("deploy", *TRY, *arguments)
    assert told.returncode == 1
    assert wrong in told.stderr
    assert mend in told.stderr
    assert [call for call in azure.changing() if not call.startswith("az provider register")] == []


WORDS = [
    ("StorageAccountAlreadyTaken: the name stimagesabc is already taken", "a name is taken", "OTHER-NAME"),
    ("SubscriptionIsOverQuotaForSku", "a quota in this region is too small", "MAX_SESSIONS"),
    ("SessionTypeNotSupportedInRegion", "does not offer what is needed", "--location REGION"),
    ("Failed to pull image: UNAUTHORIZED", "cannot pull its image", "SESSION_IMAGE ''"),
    ("DeploymentActive: another deployment", "still under way", "az deployment sub list"),
    ("maximumInstanceCount must be at least 40", "does not limit an app", "LEAST_INSTANCES 40"),
    ("AuthorizationFailed: does not have authorization", "a role is missing", "ask an owner"),
]


@pytest.mark.parametrize(("words", "wrong", "mend"), WORDS, ids=[each[1] for each in WORDS])
def test_what_azure_says_is_put_into_plain_words_with_what_mends_it(
    tmp_path: Path, words: str, wrong: str, mend: str
) -> None:
    (tmp_path / "log").write_text(f"ERROR: deployment failed\n  {words}\n")
    told = subprocess.run(
        ["bash", "-c", '. scripts/lib/azure.sh; name=photos; explain "$1"', "deploy", tmp_path / "log"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert wrong in told.stderr
    assert mend in told.stderr


AFTER = [
    ("azd provision", "AuthorizationFailed", "a role is missing", "ask an owner"),
    ("azd deploy", "something never seen", "deploying the code failed", "it goes on where it stopped"),
    ("az functionapp keys list", "503", "the app func-images-abc does not start", "az monitor app-insights query"),
    (
        "az deployment group create",
        "validation failed",
        "subscribing the app to dropped images failed",
        "scripts/deploy",
    ),
    ("az storage blob upload", "AuthorizationPermissionMismatch", "cannot be uploaded", "take effect"),
    ("az storage blob list", "503", "no renditions", "az monitor app-insights query"),
]


@pytest.mark.parametrize(("call", "words", "wrong", "mend"), AFTER, ids=[each[0] for each in AFTER])
def test_the_first_failure_stops_it_with_what_mends_it(
    azure: Azure, call: str, words: str, wrong: str, mend: str
) -> None:
    azure.change(broken={call: words})
    told = azure.run("deploy", *TRY)
    assert told.returncode == 1
    assert wrong in told.stderr
    assert mend in told.stderr
    order = [each[0] for each in AFTER]
    later = tuple(order[order.index(call) + 1 :])
    assert not later or not [each for each in azure.calls() if each.startswith(later)], "it went on after the failure"


def test_a_deployment_that_stopped_half_way_is_finished_by_the_next_one(azure: Azure) -> None:
    for call in ("azd provision", "az deployment group create"):
        azure.change(broken={call: "something never seen"})
        assert azure.run("deploy", *TRY).returncode == 1
    azure.change(broken={})
    assert azure.run("deploy", "photos", "--yes").returncode == 0


def test_an_image_that_cannot_be_built_stops_the_deployment_before_the_pool(azure: Azure) -> None:
    azure.change(broken={"az acr build": "TasksOperationsNotAllowed"})
    told = azure.run("deploy", *TRY, "--preset", "production")
    assert told.returncode == 1
    assert "the session's image is not in the registry crimagesabc" in told.stderr
    assert sum(call.startswith("azd provision") for call in azure.changing()) == 1


@pytest.mark.parametrize("arguments", [[], ["a b"], ["-x"], ["photos", "more"], ["--preset", "huge", "p"], ["$(id)"]])
def test_arguments_that_make_no_sense_show_how_it_is_called(azure: Azure, arguments: list[str]) -> None:
    for script in ("deploy", "teardown"):
        if script == "deploy" or "--preset" not in arguments:
            told = azure.run(script, *arguments)
            assert told.returncode == 2
            assert f"scripts/{script} NAME" in told.stderr
    assert azure.calls() == []


def test_teardown_lists_asks_and_leaves_nothing_behind(azure: Azure) -> None:
    azure.run("deploy", *TRY)
    azure.calls()
    told = azure.run("teardown", "photos", typed="no\n")
    assert told.returncode == 1
    assert "stimagesabc" in told.stdout
    assert azure.changing() == []
    told = azure.run("teardown", "photos", typed="photos\n")
    assert told.returncode == 0, told.stderr
    assert [call.split(" --")[0] for call in azure.changing()] == [
        "az monitor log-analytics workspace delete",
        "az group delete",
        "az deployment sub delete",
    ]
    assert azure.state["groups"] == []
    again = azure.run("teardown", "photos")
    assert again.returncode == 0
    assert "nothing of photos" in again.stderr


def test_teardown_says_what_holds_a_group_that_does_not_go(azure: Azure) -> None:
    azure.change(groups=["rg-photos-images"], broken={"az group delete": "ScopeLocked"})
    told = azure.run("teardown", "photos", "--yes")
    assert told.returncode == 1
    assert "rg-photos-images is not gone" in told.stderr


def test_the_tutorial_makes_a_pool_step_by_step(azure: Azure) -> None:
    for step in ("01-prepare", "02-build-image", "03-create-environment", "04-create-session-pool"):
        told = azure.run(f"az/{step}")
        assert told.returncode == 0, told.stderr
    changing = azure.changing()
    assert in_order(
        changing,
        "az extension add --name containerapp",
        "az provider register --namespace Microsoft.App",
        "az group create",
        "az acr create",
        "az acr build",
        "az containerapp env create",
        "az identity create",
        "az role assignment create",
        "az containerapp sessionpool create",
    )
    (create,) = [call for call in changing if call.startswith("az containerapp sessionpool create")]
    for wanted in (
        "--network-status EgressDisabled",
        "--target-port 6000",
        "--registry-identity /subscriptions/s/identity",
    ):
        assert wanted in create


def test_the_tutorial_crops_a_photo_in_a_real_session(azure: Azure, session_pool: str, tmp_path: Path) -> None:
    azure.change(pool=session_pool, groups=["rg-session-tutorial"])
    out = tmp_path / "cropped.jpg"
    said = ""
    for step, *arguments in (["05-authorize"], ["06-upload-image"], ["07-crop-image"], ["08-download-image", str(out)]):
        told = azure.run(f"az/{step}", *arguments)
        assert told.returncode == 0, told.stdout + told.stderr
        said += told.stdout
    assert "hello from a session with Pillow" in said
    assert said.count('"Succeeded"') == 2
    assert (form(out.read_bytes()), sides(out.read_bytes())) == ("JPEG", (300, 300))
    told = azure.run("az/09-clean-up", typed="rg-session-tutorial\n")
    assert told.returncode == 0, told.stderr
    assert "stopped" in told.stdout
    assert azure.state["groups"] == []
    assert "token-of-the-stand-in" not in "".join(azure.calls()), "a token among the arguments of a program"


def test_the_tutorial_deletes_nothing_without_a_yes(azure: Azure, session_pool: str) -> None:
    azure.change(pool=session_pool, groups=["rg-session-tutorial"])
    assert azure.run("az/09-clean-up", typed="no\n").returncode == 1
    assert azure.state["groups"] == ["rg-session-tutorial"]


def test_shell_scripts_are_clean() -> None:
    scripts = [path for path in (ROOT / "scripts").rglob("*") if path.is_file() and _is_shell(path)]
    assert len(scripts) >= 18
    told = subprocess.run(
        [
            Path(sys.executable).parent / "shellcheck",
            "--external-sources",
            "--source-path=SCRIPTDIR",
            *scripts,
            ROOT / ".ci" / "run",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout


def _is_shell(path: Path) -> bool:
    first = path.read_bytes()[:40].split(b"\n")[0]
    return first.endswith((b"sh", b"bash")) or b"shellcheck shell=" in first
