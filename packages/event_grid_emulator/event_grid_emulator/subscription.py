"""An event subscription: the `properties` that Azure's templates have, read as they are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from devstack.errors import EventGridError
from devstack.event_grid.filters import Azure, Filter
from devstack.event_grid.operations import CREATED

# The calls by which a block blob is whole. Accounts with folders say CreateFile before anything is in it.
WHOLE = ("PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit")


class WebHook(Azure):
    """Where events go. Several addresses are tried in turn, in place of the load balancer before an app."""

    endpoint_url: str | list[str]


class Destination(Azure):
    """Webhooks only."""

    endpoint_type: Literal["WebHook"] = "WebHook"
    properties: WebHook


class RetryPolicy(Azure):
    """When Event Grid gives up."""

    max_delivery_attempts: int = Field(30, ge=1, le=30)
    event_time_to_live_in_minutes: int = Field(1440, ge=1, le=1440)


class DeadLetterContainer(Azure):
    """Of the account that the events are about."""

    blob_container_name: str


class DeadLetterDestination(Azure):
    """Blobs only."""

    endpoint_type: Literal["StorageBlob"] = "StorageBlob"
    properties: DeadLetterContainer


class Subscription(Azure):
    """Which events go where, in which schema, and what becomes of those that cannot be delivered."""

    name: str = "local"
    destination: Destination
    filter: Filter = Filter()
    event_delivery_schema: Literal["EventGridSchema", "CloudEventSchemaV1_0"] = "EventGridSchema"
    retry_policy: RetryPolicy = RetryPolicy()
    dead_letter_destination: DeadLetterDestination | None = None

    @classmethod
    def read(cls, name: str, document: object) -> Self:
        """The subscription in a JSON document: `properties` of a resource, or the resource.

        Raises:
            EventGridError: it is none; the message says which field is wrong.
        """
        inner = document.get("properties", document) if isinstance(document, dict) else document
        try:
            made = cls.model_validate({**inner, "name": name} if isinstance(inner, dict) else inner)
        except ValidationError as error:
            told = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False))
            raise EventGridError(f"the subscription {name} is not one: {'; '.join(told)}") from None
        for url in made.endpoints:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise EventGridError(f"the subscription {name} is not one: '{url}' is not an http(s) address")
        return made

    @property
    def endpoints(self) -> list[str]:
        """The addresses."""
        url = self.destination.properties.endpoint_url
        return [url] if isinstance(url, str) else url

    @property
    def is_cloud(self) -> bool:
        """Whether events go out as CloudEvents."""
        return self.event_delivery_schema == "CloudEventSchemaV1_0"


def for_blobs(
    urls: list[str], container: str, dead_letters: str | None = None, *, cloud: bool = False
) -> dict[str, Any]:
    """The subscription that a blob trigger needs: whole blobs of one container, and of no other that begins alike."""
    api = {"operatorType": "StringIn", "key": "data.api", "values": list(WHOLE)}
    wanted = {"subjectBeginsWith": f"/blobServices/default/containers/{container}/", "includedEventTypes": [CREATED]}
    made: dict[str, Any] = {
        "destination": {"endpointType": "WebHook", "properties": {"endpointUrl": urls}},
        "filter": {**wanted, "advancedFilters": [api]},
        "eventDeliverySchema": "CloudEventSchemaV1_0" if cloud else "EventGridSchema",
    }
    if dead_letters:
        made["deadLetterDestination"] = {
            "endpointType": "StorageBlob",
            "properties": {"blobContainerName": dead_letters},
        }
    return made


def for_functions(hosts: Mapping[str, Iterable[Mapping[str, Any]]], key: str | None) -> dict[str, dict[str, Any]]:
    """By name, the subscriptions that the blob triggers of an app need; `hosts` gives the functions by address.

    All hosts run the same app: events go to one of them at a time.
    """
    code = f"&code={key}" if key else ""
    made: dict[str, dict[str, Any]] = {}
    for function in next(iter(hosts.values()), ()):
        for binding in function["config"]["bindings"]:
            if binding["type"] == "blobTrigger" and binding.get("source") == "EventGrid":
                query = f"functionName=Host.Functions.{function['name']}{code}"
                urls = [f"{host}/runtime/webhooks/blobs?{query}" for host in hosts]
                made[function["name"]] = for_blobs(urls, binding["path"].partition("/")[0])
    return made


def load(file: Path) -> Subscription:
    """The subscription in a file, named as the file is.

    Raises:
        EventGridError: it is none, or cannot be read.
    """
    try:
        return Subscription.read(file.stem, json.loads(file.read_text()))
    except (ValueError, OSError) as error:
        raise EventGridError(f"the subscription {file} cannot be read: {error}") from None
