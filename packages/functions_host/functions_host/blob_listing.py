"""Listing the blobs of a container, again and again: by hand, since the SDK's list takes five times as long."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from ssl import create_default_context as authorities
from typing import Any
from xml.etree import ElementTree

import httpx
from azure.core.exceptions import AzureError, ServiceRequestError
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from devstack.errors import HostError

VERSION = "2021-12-02"
PAGE = 5000
# What the emulator's HTTP 500 mostly means.
UNLISTABLE = (
    "; is there a control character in a blob's name? The emulator cannot list that: delete the blob by its name, "
    "or the container"
)
SIGNED_FOR = timedelta(days=1)
SCOPE = "https://storage.azure.com/.default"


@dataclass(frozen=True)
class Listed:
    """A version of a blob."""

    name: str
    etag: str
    last_modified: datetime


class Listing:
    """Lists the blobs of one container whose names begin with `prefix`, in pages of `page`.

    Raises:
        HostError: the account is known neither by its key nor by an identity.
    """

    def __init__(self, account: BlobServiceClient, container: str, prefix: str, page: int = PAGE) -> None:
        self._key = getattr(account.credential, "account_key", None)
        if not self._key and not hasattr(account.credential, "get_token"):
            raise HostError(f"the connection string of the container {container} must have an AccountKey")
        self._account = account
        self._container = container
        self._query = {"restype": "container", "comp": "list", "maxresults": str(page), "prefix": prefix}
        self._signature: dict[str, str] = {}
        self._signed = datetime.min.replace(tzinfo=UTC)
        self._http = httpx.Client(headers={"x-ms-version": VERSION}, timeout=30, trust_env=False, verify=authorities())

    def blobs(self) -> list[Listed]:
        """All of them; none while the container is not there. Blocks.

        Raises:
            AzureError: the account does not answer, or refuses.
        """
        listed: list[Listed] = []
        marker = ""
        while True:
            page = self._page(marker)
            if page is None:
                return []
            listed += _blobs(page)
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return listed

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _page(self, marker: str) -> ElementTree.Element | None:
        url = self._account.get_container_client(self._container).url
        try:
            query = {**self._query, **self._signed_query(), "marker": marker}
            answer = self._http.get(url, params=query, headers=self._token())
        except httpx.HTTPError as error:
            raise ServiceRequestError(str(error)) from error
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.status_code != HTTPStatus.OK:
            cause = UNLISTABLE if answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR else ""
            raise AzureError(f"HTTP {answer.status_code} {answer.headers.get('x-ms-error-code', '')}{cause}")
        return ElementTree.fromstring(answer.content)  # noqa: S314 - the answer of our own emulator

    def _token(self) -> dict[str, str]:
        """The header that signs in as an identity; none for a key. The SDK keeps the token."""
        if self._key:
            return {}
        credential: Any = self._account.credential
        return {"Authorization": f"Bearer {credential.get_token(SCOPE).token}"}

    def _signed_query(self) -> dict[str, str]:
        if not self._key:
            return {}
        now = datetime.now(UTC)
        if now - self._signed > SIGNED_FOR / 2:
            signature = generate_container_sas(
                str(self._account.account_name),
                self._container,
                account_key=self._key,
                permission=ContainerSasPermissions(list=True),
                expiry=now + SIGNED_FOR,
            )
            self._signature, self._signed = dict(urllib.parse.parse_qsl(signature)), now
        return self._signature


def _blobs(page: ElementTree.Element) -> Iterator[Listed]:
    for blob in page.iter("Blob"):
        name, about = blob.find("Name"), blob.find("Properties")
        if name is None or about is None:
            continue
        text = name.text or ""
        yield Listed(
            urllib.parse.unquote(text) if name.get("Encoded") == "true" else text,
            (about.findtext("Etag") or "").strip('"'),
            parsedate_to_datetime(about.findtext("Last-Modified") or ""),
        )
