"""Event subscriptions and their filters, with the `properties` of Azure's templates."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from event_grid_emulator.errors import EventGridError
from event_grid_emulator.events import BLOB_CREATED, Event

Predicate = Callable[[Any, list[Any]], bool]


def _any(test: Callable[[str, str], bool]) -> Predicate:
    """Match if any of the values matches. Like Event Grid, ignore case."""
    return lambda found, values: any(test(str(found).lower(), str(each).lower()) for each in values)


def _not(predicate: Predicate) -> Predicate:
    return lambda found, values: not predicate(found, values)


_in = _any(lambda found, value: found == value)
_begins = _any(lambda found, value: found.startswith(value))
_ends = _any(lambda found, value: found.endswith(value))
_contains = _any(lambda found, value: value in found)
OPERATORS: dict[str, Predicate] = {
    "StringIn": _in,
    "StringNotIn": _not(_in),
    "StringBeginsWith": _begins,
    "StringNotBeginsWith": _not(_begins),
    "StringEndsWith": _ends,
    "StringNotEndsWith": _not(_ends),
    "StringContains": _contains,
    "StringNotContains": _not(_contains),
    "NumberIn": lambda found, values: found in values,
    "NumberGreaterThan": lambda found, values: found > values[0],
    "NumberGreaterThanOrEquals": lambda found, values: found >= values[0],
    "NumberLessThan": lambda found, values: found < values[0],
    "NumberLessThanOrEquals": lambda found, values: found <= values[0],
    "IsNotNull": lambda *_: True,
}


class AzureModel(BaseModel):
    """A model with the camel-case field names of Azure."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class AdvancedFilter(AzureModel):
    """A condition on one field, such as `data.api`. A missing field matches only the negated operators."""

    operator_type: str
    key: str
    value: float | None = None
    values: list[Any] = []

    @field_validator("operator_type")
    @classmethod
    def _is_supported(cls, value: str) -> str:
        if value not in OPERATORS:
            raise ValueError(f"'{value}' is not supported; the operators are {', '.join(OPERATORS)}")
        return value

    def matches(self, event: Event) -> bool:
        """Return whether the event fulfills the condition."""
        found: Any = event.to_json(cloud=False) | event.to_json(cloud=True)
        for part in self.key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None or (self.operator_type.startswith("Number") and not isinstance(found, int | float)):
            return "Not" in self.operator_type and self.operator_type != "IsNotNull"
        return OPERATORS[self.operator_type](found, self.values or [self.value])


class Filter(AzureModel):
    """The filter of a subscription. An event must fulfill all conditions."""

    subject_begins_with: str = ""
    subject_ends_with: str = ""
    is_subject_case_sensitive: bool = False
    included_event_types: list[str] | None = None
    advanced_filters: list[AdvancedFilter] = Field([], max_length=25)

    def matches(self, event: Event) -> bool:
        """Return whether the event fulfills all conditions."""
        subject, begin, end = event.subject, self.subject_begins_with, self.subject_ends_with
        if not self.is_subject_case_sensitive:
            subject, begin, end = subject.lower(), begin.lower(), end.lower()
        return (
            subject.startswith(begin)
            and subject.endswith(end)
            and (self.included_event_types is None or event.type in self.included_event_types)
            and all(each.matches(event) for each in self.advanced_filters)
        )


# The operations that complete a block blob. An account with hierarchical namespace sends CreateFile while it is empty.
COMPLETING_APIS = ("PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit")


class WebHook(AzureModel):
    """The endpoint of the events. Several URLs are used in turn, like a load balancer in front of an app."""

    endpoint_url: str | list[str]


class Destination(AzureModel):
    """The destination of the events: a webhook."""

    endpoint_type: Literal["WebHook"] = "WebHook"
    properties: WebHook


class RetryPolicy(AzureModel):
    """The limits of retries."""

    max_delivery_attempts: int = Field(30, ge=1, le=30)
    event_time_to_live_in_minutes: int = Field(1440, ge=1, le=1440)


class DeadLetterContainer(AzureModel):
    """A container in the storage account of the events."""

    blob_container_name: str


class DeadLetterDestination(AzureModel):
    """The destination of dead letters: a blob container."""

    endpoint_type: Literal["StorageBlob"] = "StorageBlob"
    properties: DeadLetterContainer


class Subscription(AzureModel):
    """An event subscription: destination, filter, schema, retry policy and dead letters."""

    name: str = "local"
    destination: Destination
    filter: Filter = Filter()
    event_delivery_schema: Literal["EventGridSchema", "CloudEventSchemaV1_0"] = "EventGridSchema"
    retry_policy: RetryPolicy = RetryPolicy()
    dead_letter_destination: DeadLetterDestination | None = None

    @classmethod
    def from_json(cls, name: str, document: object) -> Self:
        """Parse a subscription: a resource, or only its `properties`.

        Raises:
            EventGridError: A field is invalid; the message names it.
        """
        inner = document.get("properties", document) if isinstance(document, dict) else document
        try:
            subscription = cls.model_validate({**inner, "name": name} if isinstance(inner, dict) else inner)
        except ValidationError as error:
            reasons = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False))
            raise EventGridError(f"the subscription {name} is invalid: {'; '.join(reasons)}") from None
        for url in subscription.endpoints:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise EventGridError(f"the subscription {name} is invalid: '{url}' is not an http(s) URL")
        return subscription

    @property
    def endpoints(self) -> list[str]:
        """The webhook URLs."""
        url = self.destination.properties.endpoint_url
        return [url] if isinstance(url, str) else url

    @property
    def uses_cloud_events(self) -> bool:
        """True if events are delivered in the CloudEvents schema."""
        return self.event_delivery_schema == "CloudEventSchemaV1_0"


def blob_trigger_subscription(
    urls: list[str], container: str, dead_letters: str | None = None, *, cloud: bool = False
) -> dict[str, Any]:
    """Return the subscription of a blob trigger: completed blobs of exactly one container.

    Args:
        urls: The webhook URLs.
        container: The name of the container.
        dead_letters: The container for dead letters, if any.
        cloud: Use the CloudEvents schema.
    """
    completing = {"operatorType": "StringIn", "key": "data.api", "values": list(COMPLETING_APIS)}
    document: dict[str, Any] = {
        "destination": {"endpointType": "WebHook", "properties": {"endpointUrl": urls}},
        "filter": {
            "subjectBeginsWith": f"/blobServices/default/containers/{container}/",
            "includedEventTypes": [BLOB_CREATED],
            "advancedFilters": [completing],
        },
        "eventDeliverySchema": "CloudEventSchemaV1_0" if cloud else "EventGridSchema",
    }
    if dead_letters:
        document["deadLetterDestination"] = {
            "endpointType": "StorageBlob",
            "properties": {"blobContainerName": dead_letters},
        }
    return document


def app_subscriptions(
    hosts: Mapping[str, Iterable[Mapping[str, Any]]], key: str | None, dead_letters: str | None = None
) -> dict[str, dict[str, Any]]:
    """Return the subscriptions of all blob triggers of an app, by function name with hyphens.

    All hosts run the same app, and each event goes to one of them.

    Args:
        hosts: The functions of each host (the response of `/admin/functions`) by base URL.
        key: The webhook key of the hosts, if they require one.
        dead_letters: The container for dead letters, if any.
    """
    code = f"&code={key}" if key else ""
    subscriptions: dict[str, dict[str, Any]] = {}
    for function in next(iter(hosts.values()), ()):
        for binding in function["config"]["bindings"]:
            if binding["type"] == "blobTrigger" and binding.get("source") == "EventGrid":
                query = f"functionName=Host.Functions.{function['name']}{code}"
                urls = [f"{host}/runtime/webhooks/blobs?{query}" for host in hosts]
                container = binding["path"].partition("/")[0]
                # Azure allows letters, digits and hyphens in the name of a subscription.
                name = function["name"].replace("_", "-")
                subscriptions[name] = blob_trigger_subscription(urls, container, dead_letters)
    return subscriptions


def load_subscription(file: Path) -> Subscription:
    """Load a subscription from a JSON file. Its name is the file's name without the extension.

    Raises:
        EventGridError: The file cannot be read, or the subscription is invalid.
    """
    try:
        return Subscription.from_json(file.stem, json.loads(file.read_text()))
    except (ValueError, OSError) as error:
        raise EventGridError(f"the subscription {file} cannot be read: {error}") from None
