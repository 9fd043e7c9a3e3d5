"""scripts/teardown: away with everything, after a question."""

from __future__ import annotations

from tests.infra.azure import TRY, Azure

HERE = {"rg-photos-images": {"location": "westus2", "tag": "photos"}}


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
    assert azure.state["groups"] == {}
    again = azure.run("teardown", "photos")
    assert again.returncode == 0
    assert "no resources of photos" in again.stderr


def test_teardown_deletes_nothing_where_nobody_can_be_asked(azure: Azure) -> None:
    azure.change(groups=HERE)
    told = azure.run("teardown", "photos", typed="")
    assert told.returncode == 1
    assert "nothing was deleted" in told.stderr
    assert azure.state["groups"] == HERE


def test_teardown_says_what_holds_a_group_that_does_not_go(azure: Azure) -> None:
    azure.change(groups=HERE, broken={"az group delete": "ScopeLocked"})
    told = azure.run("teardown", "photos", "--yes")
    assert told.returncode == 1
    assert "rg-photos-images could not be deleted" in told.stderr


def test_teardown_leaves_other_applications_of_the_same_name_alone(azure: Azure) -> None:
    shop = {"rg-photos-shop": {"location": "westus2", "tag": "photos"}}
    azure.run("deploy", *TRY)
    azure.change(groups={**azure.state["groups"], **shop})
    azure.change(deployments={**azure.state["deployments"], "photos-1600000000": "the shop"})
    told = azure.run("teardown", "photos", "--yes")
    assert told.returncode == 0, told.stderr
    assert azure.state["groups"] == shop
    assert azure.state["deployments"] == {"photos-1600000000": "the shop"}


def test_a_group_of_the_same_name_that_is_not_deployed_from_here_stays(azure: Azure) -> None:
    theirs = {"rg-photos-images": {"location": "westus2", "tag": ""}}
    azure.change(groups=theirs)
    told = azure.run("teardown", "photos", "--yes")
    assert "no resources of photos" in told.stderr
    assert azure.state["groups"] == theirs
