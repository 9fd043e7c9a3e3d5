"""Classification of storage's errors: a code decides whether an image, a blob or the whole service is the cause."""

from __future__ import annotations

import pytest

from pipeline.errors import (
    IdentityUnavailable,
    JobSuperseded,
    PermanentError,
    StorageNotFound,
    StorageUnavailable,
    TransientError,
)
from pipeline.storage import Sources
from pipeline.storage.account import map_errors
from pipeline.storage.error_codes import error_from_code
from pipeline.testing import NO_RESPONSE, MemoryAccount

# Status and code of a refusal; the kind, the service at fault, and whether attempts are counted (None: no retry).
CASES = [
    (0, "", "storage_unavailable", "storage", False),
    (401, "NoAuthenticationInformation", "storage_denied", "storage", False),
    (403, "AuthorizationPermissionMismatch", "storage_denied", "storage", False),
    (403, "AccountIsDisabled", "storage_denied", "storage", False),
    (403, "KeyVaultEncryptionKeyNotFound", "storage_denied", "storage", False),
    (400, "InvalidAuthenticationInfo", "storage_denied", "storage", False),
    (403, "", "storage_denied", "storage", False),
    (404, "ContainerNotFound", "storage_not_found", "storage", False),
    (404, "QueueNotFound", "storage_not_found", "storage", False),
    (409, "TableBeingDeleted", "storage_not_found", "storage", False),
    (409, "AccountBeingCreated", "storage_unavailable", "storage", False),
    (408, "", "storage_unavailable", "storage", False),
    (429, "", "storage_unavailable", "storage", False),
    (500, "OperationTimedOut", "storage_unavailable", "storage", False),
    (503, "ServerBusy", "storage_unavailable", "storage", False),
    (507, "", "storage_unavailable", "storage", False),
    (404, "", "storage_refused", "", True),
    (409, "", "storage_refused", "", True),
    (418, "Teapot", "storage_refused", "", True),
    (400, "InvalidHeaderValue", "storage_refused", "", True),
    (412, "LeaseIdMissing", "blob_leased", "", True),
    (412, "LeaseIdMismatchWithBlobOperation", "blob_leased", "", True),
    (409, "PendingCopyOperation", "blob_busy", "", True),
    (412, "ConditionNotMet", "overwritten", "", True),
    (400, "InvalidBlockList", "overwritten", "", True),
    (409, "BlobArchived", "archived", "", None),
    (409, "BlobUsesCustomerSpecifiedEncryption", "customer_key", "", None),
    (409, "BlobImmutableDueToLegalHold", "immutable", "", None),
    (409, "InvalidBlobType", "output_conflict", "", None),
    (400, "MetadataTooLarge", "storage_invalid", "", None),
    (413, "RequestBodyTooLarge", "storage_invalid", "", None),
]


@pytest.mark.parametrize(("status", "code", "kind", "service", "counted"), CASES)
def test_a_code_decides_about_service_and_retries(
    status: int, code: str, kind: str, service: str, counted: bool | None
) -> None:
    error = error_from_code("reading a/b", status, code)
    assert error.kind == kind
    assert error.message.startswith("reading a/b: ")
    if counted is None:
        assert isinstance(error, PermanentError)
        return
    assert isinstance(error, TransientError)
    assert error.service == service
    assert (error.service == "") == counted


def test_an_unknown_refusal_is_counted_and_keeps_its_dependency() -> None:
    error = error_from_code("reading", 418, "Teapot", "7")
    assert isinstance(error, StorageUnavailable)
    assert (error.service, error.dependency, error.bounded, error.retry_after) == ("", "storage", True, 7.0)


def test_a_missing_token_is_a_fault_of_the_identity_service() -> None:
    with pytest.raises(StorageUnavailable) as caught, map_errors("reading"):
        raise IdentityUnavailable("no token", kind="identity_denied")
    assert (caught.value.kind, caught.value.service) == ("identity_denied", "identity")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "BlobNotFound", JobSuperseded),
        (404, "ContainerNotFound", StorageNotFound),
        (404, "", StorageUnavailable),
        (NO_RESPONSE, "", StorageUnavailable),
    ],
)
@pytest.mark.parametrize("operation", ["open", "stat"])
async def test_only_a_code_makes_a_404_a_missing_source(
    operation: str, status: int, code: str, expected: type[Exception]
) -> None:
    account = MemoryAccount()
    account.fail("blob", status, code)
    sources = Sources(account, ("input",))
    with pytest.raises(expected) as caught:
        await (sources.open if operation == "open" else sources.stat)("input", "a.jpg")
    assert type(caught.value) is expected
