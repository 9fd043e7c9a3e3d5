"""Subscriptions: the templates', the documentation's and the stack's own are of one kind, and mean the same."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

from devstack import event_grid
from devstack.event_grid.events import Event
from devstack.event_grid.subscription import Subscription, for_blobs, for_functions

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "event-grid.md"


def test_the_stack_subscribes_with_the_filters_that_are_deployed() -> None:
    template = (ROOT / "infra" / "events.bicep").read_text()
    made = for_blobs(["http://a/"], "${input}")["filter"]
    assert f"subjectBeginsWith: '{made['subjectBeginsWith']}'" in template
    assert f"includedEventTypes: {made['includedEventTypes']}" in template
    assert f"values: {made['advancedFilters'][0]['values']}" in template


def test_the_subscription_in_the_documentation_is_one() -> None:
    (text,) = re.findall(r"subscriptions/\w+ -d '(\{.*?\n\})'", DOCS.read_text(), flags=re.DOTALL)
    subscription = Subscription.read("images", json.loads(text))
    assert subscription.endpoints == ["http://127.0.0.1:7071/hook"]
    assert subscription.dead_letter_destination


def test_the_event_in_the_documentation_is_one_that_a_blob_trigger_wants() -> None:
    (text,) = re.findall(r"/events -d '(\{.*?\n\})'", DOCS.read_text(), flags=re.DOTALL)
    wanted = Subscription.read("sub", for_blobs(["http://a/"], "input"))
    assert wanted.filter.wants(Event.read(json.loads(text)))


def test_every_option_is_documented() -> None:
    options = {f"--{name.replace('_', '-')}" for name in inspect.signature(event_grid.command).parameters}
    assert options == set(re.findall(r"`(--[a-z-]+)", DOCS.read_text().partition("## Options")[2]))


def test_a_resource_and_its_properties_are_read_alike() -> None:
    properties = for_blobs(["http://a/"], "input", "dead")
    assert Subscription.read("a", {"name": "b", "properties": properties}) == Subscription.read("a", properties)


def test_only_blob_triggers_with_the_source_event_grid_are_subscribed_at_every_host_with_the_key() -> None:
    def function(name: str, **binding: str) -> dict[str, object]:
        return {"name": name, "config": {"bindings": [binding]}}

    app = [
        function("dropped", type="blobTrigger", source="EventGrid", path="input/{name}"),
        function("scanned", type="blobTrigger", path="input/{name}"),
        function("queued", type="queueTrigger"),
    ]
    made = for_functions({"http://one": app, "http://two": app}, "k")
    assert list(made) == ["dropped"]
    assert Subscription.read("dropped", made["dropped"]).endpoints == [
        f"http://{host}/runtime/webhooks/blobs?functionName=Host.Functions.dropped&code=k" for host in ("one", "two")
    ]
    assert made["dropped"]["filter"]["subjectBeginsWith"] == "/blobServices/default/containers/input/"
