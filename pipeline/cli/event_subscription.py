"""Check of the Event Grid subscription on Azure: the app drops events for a function that it does not have.

It answers them with 202, as Azure's blob trigger does, so that nobody notices: no error, no dead letter.
"""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import httpx

from pipeline.identity import Identity
from pipeline.telemetry import printable

MANAGEMENT = "https://management.azure.com"
API_VERSION = "2025-02-15"
TIMEOUT_SECONDS = 10.0
# The trigger in function_app.py, as the Functions host names it.
FUNCTION = "Host.Functions.image_uploaded"
# Outputs of the deployment: `azd env get-values` prints them with the settings.
PLACE_VARIABLES = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "TOPIC_NAME")
APP_HOST_VARIABLE = "FUNCTION_APP_HOST"
_AGAIN = "run `scripts/deploy` again, which creates it anew"

Verdict = tuple[Literal["ok", "warning", "error"], str]
"""The status of a finding and its detail, which names the remedy."""


async def check_address(identity: Identity | None, environ: Mapping[str, str], subscription: str) -> Verdict:
    """Return whether an event subscription delivers to the app's function. Its address holds a key, which is not shown.

    Raises IdentityUnavailable without a sign-in to Azure.
    """
    if identity is None:
        return "ok", "not needed: this storage account is not on Azure, or has a key"
    missing = [name for name in PLACE_VARIABLES if not environ.get(name)]
    if missing:
        return "warning", f"not checked: set {', '.join(missing)}, which `azd env get-values` prints"
    account, group, topic = (environ[name] for name in PLACE_VARIABLES)
    url = (
        f"{MANAGEMENT}/subscriptions/{account}/resourceGroups/{group}/providers/Microsoft.EventGrid/systemTopics/"
        f"{topic}/eventSubscriptions/{subscription}/getFullUrl"
    )
    token = (await identity.get_token(f"{MANAGEMENT}/.default")).token
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            response = await client.post(
                url, params={"api-version": API_VERSION}, headers={"Authorization": f"Bearer {token}"}
            )
        address = response.json().get("endpointUrl") if response.is_success else ""
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        return "warning", f"not checked: Azure did not answer ({type(error).__name__}); try again"
    if response.status_code == httpx.codes.NOT_FOUND:
        return "error", f"{topic} has no subscription {subscription}, so that uploads start no jobs: {_AGAIN}"
    if not response.is_success:
        needed = "your role needs Microsoft.EventGrid/systemTopics/eventSubscriptions/getFullUrl/action"
        return "warning", f"not checked: Azure answered {response.status_code}; {needed}"
    return _verdict(str(address or ""), environ.get(APP_HOST_VARIABLE, ""))


def _verdict(address: str, host: str) -> Verdict:
    """Judge the address to which events are delivered, given the app's host name, if it is known."""
    parts = urlsplit(address)
    if host and (parts.hostname or "") != host.lower():
        return "error", f"it delivers to {printable(parts.hostname or 'no URL')} instead of {host}: {_AGAIN}"
    function = parse_qs(parts.query).get("functionName", [""])[0]
    if function != FUNCTION:
        return "error", (
            f"it delivers to the function {printable(function)!r}, and the app accepts and drops these events: the "
            f"address must have functionName={FUNCTION}; {_AGAIN}"
        )
    return "ok", f"delivers to {function}"
