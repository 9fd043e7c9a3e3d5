"""The subscriptions of the templates, the documentation and the local stack have the same format and meaning."""

from __future__ import annotations

import json
import re
from pathlib import Path

import typer.main

from event_grid_emulator.cli import program
from event_grid_emulator.events import Event
from event_grid_emulator.subscription import Subscription, app_subscriptions, blob_trigger_subscription

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "event-grid.md"


def test_the_stack_uses_the_filters_of_the_deployment() -> None:
    template = (ROOT / "infra" / "events.bicep").read_text()
    document = blob_trigger_subscription(["http://a/"], "${input}")["filter"]
    assert f"subjectBeginsWith: '{document['subjectBeginsWith']}'" in template
    assert f"includedEventTypes: {document['includedEventTypes']}" in template
    assert f"values: {document['advancedFilters'][0]['values']}" in template


def test_the_documented_subscription_is_valid() -> None:
    (text,) = re.findall(r"subscriptions/\w+ -d '(\{.*?\n\})'", DOCS.read_text(), flags=re.DOTALL)
    subscription = Subscription.from_json("images", json.loads(text))
    assert subscription.endpoints == ["http://127.0.0.1:7071/hook"]
    assert subscription.dead_letter_destination


def test_the_documented_event_triggers_a_blob_function() -> None:
    (text,) = re.findall(r"/events -d '(\{.*?\n\})'", DOCS.read_text(), flags=re.DOTALL)
    subscription = Subscription.from_json("sub", blob_trigger_subscription(["http://a/"], "input"))
    assert subscription.filter.matches(Event.from_json(json.loads(text)))


def test_every_option_is_documented() -> None:
    parameters = typer.main.get_command(program).params
    options = {option for parameter in parameters for option in parameter.opts} - {"--help"}
    assert options == set(re.findall(r"`(--[a-z-]+)", DOCS.read_text().partition("## Options")[2]))


def test_a_resource_and_its_properties_are_equivalent() -> None:
    properties = blob_trigger_subscription(["http://a/"], "input", "dead")
    resource = {"name": "b", "properties": properties}
    assert Subscription.from_json("a", resource) == Subscription.from_json("a", properties)


def test_event_grid_triggers_are_subscribed_at_all_hosts() -> None:
    def function(name: str, **binding: str) -> dict[str, object]:
        return {"name": name, "config": {"bindings": [binding]}}

    app = [
        function("blob_uploaded", type="blobTrigger", source="EventGrid", path="input/{name}"),
        function("scanned", type="blobTrigger", path="input/{name}"),
        function("queued", type="queueTrigger"),
    ]
    subscriptions = app_subscriptions({"http://one": app, "http://two": app}, "k", "dead")
    assert list(subscriptions) == ["blob-uploaded"], "as in Azure, where a name has no underscore"
    subscription = Subscription.from_json("blob-uploaded", subscriptions["blob-uploaded"])
    assert subscription.endpoints == [
        f"http://{host}/runtime/webhooks/blobs?functionName=Host.Functions.blob_uploaded&code=k"
        for host in ("one", "two")
    ]
    assert subscription.dead_letter_destination
    assert subscription.dead_letter_destination.properties.blob_container_name == "dead"
    prefix = subscriptions["blob-uploaded"]["filter"]["subjectBeginsWith"]
    assert prefix == "/blobServices/default/containers/input/"
