"""List the blobs of a container by plain HTTP requests: the list call of the SDK takes five times as long."""

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from ssl import create_default_context
from typing import Any
from xml.etree import ElementTree

import httpx
from azure.core.exceptions import AzureError, ServiceRequestError
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

from functions_host.errors import HostError

API_VERSION = "2021-12-02"
PAGE_SIZE = 5000
LIST_TIMEOUT_SECONDS = 30
# Azurite answers 500 mostly for this reason.
CONTROL_CHARACTER_HINT = (
    "; is there a control character in a blob's name? Azurite cannot list such a blob: delete it by its name, or "
    "delete the container"
)
SAS_LIFETIME = timedelta(hours=1)
STORAGE_SCOPE = "https://storage.azure.com/.default"


@dataclass(frozen=True)
class BlobVersion:
    """A blob as one listing shows it."""

    name: str
    etag: str
    last_modified: datetime


class BlobLister:
    """List the blobs of one container with names that begin with `prefix`, `page_size` per request.

    Raises:
        HostError: The connection has neither an account key nor an identity.
    """

    def __init__(self, account: BlobServiceClient, container: str, prefix: str, page_size: int = PAGE_SIZE) -> None:
        self._key = getattr(account.credential, "account_key", None)
        if not self._key and not hasattr(account.credential, "get_token"):
            raise HostError(f"the connection string of the container {container} must have an AccountKey")
        self._account = account
        self._container = container
        self._query = {"restype": "container", "comp": "list", "maxresults": str(page_size), "prefix": prefix}
        self._http = httpx.Client(
            headers={"x-ms-version": API_VERSION},
            timeout=LIST_TIMEOUT_SECONDS,
            trust_env=False,
            verify=create_default_context(),
        )

    def list_blobs(self) -> list[BlobVersion]:
        """Return all blobs; none if the container does not exist. Blocks the calling thread.

        Raises:
            AzureError: The account does not respond, or rejects the request.
        """
        blobs: list[BlobVersion] = []
        marker = ""
        while True:
            page = self._fetch_page(marker)
            if page is None:
                return []
            blobs += _parse_page(page)
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return blobs

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _fetch_page(self, marker: str) -> ElementTree.Element | None:
        """Return a page of the listing; None if the container does not exist."""
        url = self._account.get_container_client(self._container).url
        sas, headers = self._credentials()
        try:
            response = self._http.get(url, params={**self._query, **sas, "marker": marker}, headers=headers)
        except httpx.HTTPError as error:
            raise ServiceRequestError(str(error)) from error
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        if response.status_code != HTTPStatus.OK:
            hint = CONTROL_CHARACTER_HINT if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR else ""
            raise AzureError(f"HTTP {response.status_code} {response.headers.get('x-ms-error-code', '')}{hint}")
        return ElementTree.fromstring(response.content)  # noqa: S314 - the storage account is trusted

    def _credentials(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the query of a shared access signature for an account key, or the token header for an identity."""
        if self._key:
            sas = generate_container_sas(
                str(self._account.account_name),
                self._container,
                account_key=self._key,
                permission=ContainerSasPermissions(list=True),
                expiry=datetime.now(UTC) + SAS_LIFETIME,
            )
            return dict(urllib.parse.parse_qsl(sas)), {}
        credential: Any = self._account.credential  # the SDK caches its tokens
        return {}, {"Authorization": f"Bearer {credential.get_token(STORAGE_SCOPE).token}"}


def _parse_page(page: ElementTree.Element) -> Iterator[BlobVersion]:
    for blob in page.iter("Blob"):
        name, properties = blob.find("Name"), blob.find("Properties")
        if name is None or properties is None:
            continue
        text = name.text or ""
        yield BlobVersion(
            urllib.parse.unquote(text) if name.get("Encoded") == "true" else text,
            (properties.findtext("Etag") or "").strip('"'),
            parsedate_to_datetime(properties.findtext("Last-Modified") or ""),
        )
