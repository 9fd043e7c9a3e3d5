"""scripts/deploy: it detects errors before it changes anything, and stops at failures. Both with a remedy."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra.azure import ROOT, TRY, Azure

HERE = {"rg-photos-images": {"location": "westus2", "tag": "photos"}}
BEFORE = [
    ({"az_version": "2.1.0"}, [], "az 2.1.0 is too old", "az upgrade"),
    ({"curl_version": "7.68.0"}, [], "curl 7.68.0 is too old", "packages"),
    ({"azd_version": "1.17.2"}, [], "azd 1.17.2 is too old", "aka.ms/azd-install"),
    ({"signed_in": False}, [], "not signed in to Azure", "az login"),
    ({"azd_signed_in": False}, [], "azd is not signed in", "azd auth login"),
    ({}, ["--subscription", "another"], "not another", "az account set --subscription 'another'"),
    ({}, ["--location", "Atlantis"], "session pools are not offered in atlantis", "West US 2"),
    ({}, ["--location", "northeurope"], "Flex Consumption is not offered", "list-flexconsumption-locations"),
    ({}, ["--preset", "huge"], "there is no preset huge", "--preset try"),
    ({}, ["--set", "MAX_SESIONS=5"], "there is no variable MAX_SESIONS", "docs/deploy.md"),
    ({}, ["--set", "SESSION_IMAGE=x"], "there is no variable SESSION_IMAGE", "docs/deploy.md"),
    ({"groups": HERE}, [], "photos was deployed from another machine", "--preset"),
    ({"groups": HERE}, ["--location", "eastus"], "photos is in westus2", "--location westus2"),
    (
        {"groups": HERE, "account": {"sku": "Standard_LRS"}},
        ["--preset", "production"],
        "a deployment cannot make it Standard_ZRS",
        "az storage account migration start",
    ),
    (
        {"sessions_in": "westus3", "hosts_in": "westus3"},
        ["--location", "westus3", "--preset", "production"],
        "westus3 does not offer zone-redundant storage",
        "STORAGE_REDUNDANCY=Standard_LRS",
    ),
    ({"roles": ["Reader"]}, [], "may not create resources", "--role Contributor"),
    ({"roles": ["Contributor"]}, [], "may not assign roles to the app", "Role Based Access Control Administrator"),
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
def test_detectable_errors_are_reported_before_any_change(
    azure: Azure, there: dict[str, Any], arguments: list[str], wrong: str, mend: str
) -> None:
    azure.change(**there)
    result = azure.run("deploy", *TRY, *arguments)
    assert result.returncode == 1
    assert wrong in result.stderr
    assert mend in result.stderr
    assert [call for call in azure.changing() if not call.startswith("az provider register")] == []
    assert azure.state["environments"] == there.get("environments", {}), "what was refused is not kept"


WORDS = [
    ("StorageAccountAlreadyTaken: the name stimagesabc is already taken", "a name is taken", "OTHER-NAME"),
    ("SubscriptionIsOverQuotaForSku", "a quota in this region is too small", "--set MAX_SESSIONS=5"),
    ("SessionTypeNotSupportedInRegion", "does not offer a required resource type", "--location REGION"),
    ("Failed to pull image: UNAUTHORIZED", "cannot pull its image", "has taken effect"),
    ("DeploymentActive: another deployment", "still running", "az deployment sub list"),
    ("maximumInstanceCount must be at least 40", "does not accept such a low", "--set LEAST_INSTANCES=40"),
    ("StorageAccountTypeConversionNotAllowed", "cannot change the redundancy", "STORAGE_REDUNDANCY=Standard_LRS"),
    ("InvalidResourceGroupLocation", "is in another region", "OTHER-NAME"),
    ("RoleAssignmentExists: The role assignment already", "already assigned", "az role assignment delete"),
    ("RoleAssignmentUpdateNotPermitted: Tenant ID", "already assigned", "az role assignment delete"),
    ("AuthorizationFailed: does not have authorization", "a role is missing", "ask an owner"),
]


@pytest.mark.parametrize(("words", "wrong", "mend"), WORDS, ids=[each[1] for each in WORDS])
def test_errors_of_azure_are_explained_with_a_remedy(tmp_path: Path, words: str, wrong: str, mend: str) -> None:
    (tmp_path / "log").write_text(f"ERROR: deployment failed\n  {words}\n")
    result = subprocess.run(
        ["bash", "-c", '. scripts/lib/azure.sh; name=photos; explain "$1"', "deploy", tmp_path / "log"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert wrong in result.stderr
    assert mend in result.stderr


AFTER = [
    ("azd provision", "AuthorizationFailed", "a role is missing", "ask an owner"),
    ("azd deploy", "something never seen", "deploying the code failed", "it continues at this step"),
    ("az functionapp keys list", "503", "the app func-images-abc does not start", "az monitor app-insights query"),
    (
        "az deployment group create",
        "validation failed",
        "subscribing the app to blob events failed",
        "scripts/deploy",
    ),
    ("az storage blob upload", "AuthorizationPermissionMismatch", "cannot be uploaded", "take effect"),
    ("curl runs/plan", "500", "cannot read storage", "take effect"),
    ("curl jobs", "500", "cannot read its ledger", "take effect"),
]


@pytest.mark.parametrize(("call", "words", "wrong", "mend"), AFTER, ids=[each[0] for each in AFTER])
def test_the_first_failure_stops_it_and_names_a_remedy(
    azure: Azure, call: str, words: str, wrong: str, mend: str
) -> None:
    azure.change(broken={call: words})
    result = azure.run("deploy", *TRY)
    assert result.returncode == 1
    assert wrong in result.stderr
    assert mend in result.stderr
    order = [each[0] for each in AFTER]
    later = tuple(order[order.index(call) + 1 :])
    assert not later or not [each for each in azure.calls() if each.startswith(later)], "it went on after the failure"


def test_the_next_deployment_finishes_an_interrupted_one(azure: Azure) -> None:
    for call in ("azd provision", "az deployment group create"):
        azure.change(broken={call: "something never seen"})
        assert azure.run("deploy", *TRY).returncode == 1
    azure.change(broken={})
    assert azure.run("deploy", "photos", "--yes").returncode == 0


def test_a_failed_image_build_stops_before_the_pool(azure: Azure) -> None:
    azure.change(broken={"az acr build": "TasksOperationsNotAllowed"})
    result = azure.run("deploy", *TRY, "--preset", "production")
    assert result.returncode == 1
    assert "could not be pushed to the registry crimagesabc" in result.stderr
    assert sum(call.startswith("azd provision") for call in azure.changing()) == 1


def test_a_failed_photo_shows_the_error_of_the_app(azure: Azure) -> None:
    azure.change(failing="not_an_image")
    result = azure.run("deploy", *TRY)
    assert result.returncode == 1
    assert "the photo failed: the pool refuses the token" in result.stderr
