"""Validation handshake: an endpoint must accept a subscription before it receives events."""

from __future__ import annotations

import json
import uuid
from http import HTTPStatus
from typing import Any

import httpx

from event_grid_emulator.errors import EventGridError
from event_grid_emulator.events import RESOURCE_GROUP, utc_now
from event_grid_emulator.subscription import Subscription

ORIGIN = "eventgrid.azure.net"
VALIDATION_EVENT = "Microsoft.EventGrid.SubscriptionValidationEvent"


async def validate_endpoints(subscription: Subscription, http: httpx.AsyncClient) -> None:
    """Perform the handshake with every endpoint of the subscription.

    Raises:
        EventGridError: An endpoint does not respond as required.
    """
    for url in subscription.endpoints:
        try:
            if not (subscription.uses_cloud_events and await _is_origin_allowed(url, http)):
                await _validate(subscription, url, http)
        except httpx.HTTPError as error:
            raise _handshake_error(subscription, f"no response ({type(error).__name__})") from error


async def _is_origin_allowed(url: str, http: httpx.AsyncClient) -> bool:
    """Perform the CloudEvents handshake. Endpoints that do not support it get a validation event instead."""
    response = await http.options(url, headers={"WebHook-Request-Origin": ORIGIN})
    return response.is_success and response.headers.get("WebHook-Allowed-Origin") in (ORIGIN, "*")


async def _validate(subscription: Subscription, url: str, http: httpx.AsyncClient) -> None:
    code = str(uuid.uuid4()).upper()
    headers = {"aeg-event-type": "SubscriptionValidation", "aeg-subscription-name": subscription.name.upper()}
    event = _validation_event(code, cloud=subscription.uses_cloud_events)
    response = await http.post(url, json=event, headers=headers)
    if response.status_code != HTTPStatus.OK:
        raise _handshake_error(subscription, f"HTTP {response.status_code}")
    try:
        document: Any = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("validationResponse") != code:
        raise _handshake_error(subscription, "the response does not contain the code as validationResponse")


def _validation_event(code: str, *, cloud: bool) -> object:
    data = {"validationCode": code, "validationUrl": None}
    event: dict[str, Any] = {"id": str(uuid.uuid4()), "subject": ""}
    if cloud:  # as on Azure, the data of this event is a JSON string
        event |= {"source": RESOURCE_GROUP, "type": VALIDATION_EVENT, "specversion": "1.0", "data": json.dumps(data)}
        return event
    event |= {"topic": RESOURCE_GROUP, "eventType": VALIDATION_EVENT, "eventTime": utc_now()}
    return [{**event, "data": data, "dataVersion": "2", "metadataVersion": "1"}]


def _handshake_error(subscription: Subscription, reason: str) -> EventGridError:
    return EventGridError(
        f"the subscription {subscription.name} was not created: validation handshake failed, {reason}; is the function "
        "app running, and is the code in the URL its key?"
    )
