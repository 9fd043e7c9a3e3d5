"""The question that an endpoint must answer before it gets events: whether it wants them."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx

from devstack.errors import EventGridError
from devstack.event_grid.events import SUBSCRIPTION
from devstack.event_grid.subscription import Subscription

ORIGIN = "eventgrid.azure.net"
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"


async def shake(subscription: Subscription, http: httpx.AsyncClient) -> None:
    """Ask every endpoint of the subscription.

    Raises:
        EventGridError: one does not answer as it must.
    """
    for url in subscription.endpoints:
        try:
            if not (subscription.is_cloud and await _allowed(url, http)):
                await _validated(subscription, url, http)
        except httpx.HTTPError as error:
            raise _refused(subscription, f"it does not answer ({type(error).__name__})") from error


async def _allowed(url: str, http: httpx.AsyncClient) -> bool:
    """The handshake of CloudEvents' webhooks. Endpoints that do not know it are asked the other way."""
    answer = await http.options(url, headers={"WebHook-Request-Origin": ORIGIN})
    return answer.is_success and answer.headers.get("WebHook-Allowed-Origin") in (ORIGIN, "*")


async def _validated(subscription: Subscription, url: str, http: httpx.AsyncClient) -> None:
    code = str(uuid.uuid4()).upper()
    headers = {"aeg-event-type": "SubscriptionValidation", "aeg-subscription-name": subscription.name.upper()}
    answer = await http.post(url, json=_question(code, cloud=subscription.is_cloud), headers=headers)
    if answer.status_code != HTTPStatus.OK:
        raise _refused(subscription, f"HTTP {answer.status_code}")
    try:
        told: Any = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("validationResponse") != code:
        raise _refused(subscription, "it does not give back the validation code as validationResponse")


def _question(code: str, *, cloud: bool) -> object:
    data = {"validationCode": code, "validationUrl": None}
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event: dict[str, Any] = {"id": str(uuid.uuid4()), "subject": ""}
    if cloud:  # Azure packs the data of this one twice
        return {**event, "source": SUBSCRIPTION, "type": VALIDATION, "specversion": "1.0", "data": json.dumps(data)}
    named = {"topic": SUBSCRIPTION, "eventType": VALIDATION, "eventTime": now}
    return [{**event, **named, "data": data, "dataVersion": "2", "metadataVersion": "1"}]


def _refused(subscription: Subscription, why: str) -> EventGridError:
    return EventGridError(
        f"the subscription {subscription.name} is not made: the validation handshake failed, {why}; does the function "
        "app run, and is the code in the address its key?"
    )
