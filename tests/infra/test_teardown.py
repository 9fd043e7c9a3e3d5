"""scripts/teardown deletes everything after a confirmation."""

from __future__ import annotations

from tests.infra.azure import TRY, Azure

HERE = {"rg-photos-images": {"location": "westus2", "tag": "photos"}}


def test_teardown_lists_asks_and_deletes_everything(azure: Azure) -> None:
    azure.run("deploy", *TRY)
    azure.calls()
    result = azure.run("teardown", "photos", typed="no\n")
    assert result.returncode == 1
    assert "stimagesabc" in result.stdout
    assert azure.changing() == []
    result = azure.run("teardown", "photos", typed="photos\n")
    assert result.returncode == 0, result.stderr
    assert [call.split(" --")[0] for call in azure.changing()] == [
        "az monitor log-analytics workspace delete",
        "az group delete",
        "az deployment sub delete",
    ]
    assert azure.state["groups"] == {}
    again = azure.run("teardown", "photos")
    assert again.returncode == 0
    assert "no resources of photos" in again.stderr


def test_teardown_deletes_nothing_without_a_terminal(azure: Azure) -> None:
    azure.change(groups=HERE)
    result = azure.run("teardown", "photos", typed="")
    assert result.returncode == 1
    assert "nothing was deleted" in result.stderr
    assert azure.state["groups"] == HERE


def test_teardown_reports_a_group_that_it_cannot_delete(azure: Azure) -> None:
    azure.change(groups=HERE, broken={"az group delete": "ScopeLocked"})
    result = azure.run("teardown", "photos", "--yes")
    assert result.returncode == 1
    assert "rg-photos-images could not be deleted" in result.stderr


def test_teardown_keeps_other_applications_of_the_same_name(azure: Azure) -> None:
    shop = {"rg-photos-shop": {"location": "westus2", "tag": "photos"}}
    azure.run("deploy", *TRY)
    azure.change(groups={**azure.state["groups"], **shop})
    azure.change(deployments={**azure.state["deployments"], "photos-1600000000": "the shop"})
    result = azure.run("teardown", "photos", "--yes")
    assert result.returncode == 0, result.stderr
    assert azure.state["groups"] == shop
    assert azure.state["deployments"] == {"photos-1600000000": "the shop"}


def test_teardown_keeps_foreign_groups_of_the_same_name(azure: Azure) -> None:
    theirs = {"rg-photos-images": {"location": "westus2", "tag": ""}}
    azure.change(groups=theirs)
    result = azure.run("teardown", "photos", "--yes")
    assert "no resources of photos" in result.stderr
    assert azure.state["groups"] == theirs
