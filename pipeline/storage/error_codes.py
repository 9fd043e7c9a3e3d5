"""Classification of the storage account's error codes: service faults, faults of one blob, and refused requests.

The code decides, not the status alone: 403 and 409 mean a missing role or a container under deletion as well as one
archived blob. Codes are those of the documented error lists of the blob, queue and table service.
"""

from pipeline.errors import (
    BlobUnavailable,
    OutputError,
    PermanentError,
    PipelineError,
    SourceError,
    StorageNotFound,
    StorageUnavailable,
)
from pipeline.http_connections import parse_retry_after
from pipeline.settings import CONNECTION

MISSING_CODES = frozenset({"BlobNotFound", "EntityNotFound", "MessageNotFound", "PathNotFound", "ResourceNotFound"})
"""Codes of a blob, row or message that does not exist; of the same status as a missing container."""
# A container, queue or table that every job needs.
_PLACE_CODES = frozenset({
    "ContainerBeingDeleted", "ContainerDisabled", "ContainerNotFound",
    "FilesystemBeingDeleted", "FilesystemNotFound",
    "QueueBeingDeleted", "QueueDisabled", "QueueNotFound",
    "TableBeingDeleted", "TableNotFound",
})  # fmt: skip
_ARCHIVED_CODES = frozenset({"BlobArchived", "BlobBeingRehydrated"})
_CUSTOMER_KEY_CODES = frozenset({
    "BlobCustomerSpecifiedEncryptionMismatch",
    "BlobDoesNotUseCustomerSpecifiedEncryption",
    "BlobUsesCustomerSpecifiedEncryption",
})  # fmt: skip
_IMMUTABLE_CODES = frozenset({
    "BlobImmutableDueToLegalHold", "BlobImmutableDueToPolicy",
    "ContainerHasLegalHold", "ContainerImmutabilityPolicyLocked",
    "UnauthorizedBlobOverwrite",
})  # fmt: skip
# The output path holds something that a rendition cannot replace: a page or append blob, or a folder.
_OCCUPIED_CODES = frozenset({
    "BlobOperationNotSupported", "DirectoryNotEmpty", "InvalidBlobType", "PathConflict", "ResourceTypeMismatch",
})  # fmt: skip
_LEASED_CODES = frozenset({
    "LeaseAlreadyPresent", "LeaseIdMismatchWithBlobOperation", "LeaseIdMismatchWithLeaseOperation", "LeaseIdMissing",
    "LeaseIsBreakingAndCannotBeAcquired", "LeaseIsBreakingAndCannotBeChanged", "LeaseIsBrokenAndCannotBeRenewed",
    "LeaseLost", "LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithLeaseOperation",
})  # fmt: skip
_BUSY_CODES = frozenset({
    "BlockCountExceedsLimit", "ClientCacheFlushDelay", "DeletePending", "DestinationPathIsBeingDeleted",
    "PendingCopyOperation", "SnapshotCountExceeded", "SnapshotOperationRateExceeded", "SnapshotsPresent",
    "SourcePathIsBeingDeleted", "SystemInUse",
})  # fmt: skip
# Another writer was faster: a condition does not hold, or a blob or row came or went meanwhile.
_CHANGED_CODES = MISSING_CODES | {
    "BlobAlreadyExists", "BlobOverwritten", "ConditionNotMet", "EntityAlreadyExists", "InvalidBlobOrBlock",
    "InvalidBlockList", "PathAlreadyExists", "PopReceiptMismatch", "ResourceAlreadyExists", "SourceConditionNotMet",
    "TargetConditionNotMet", "UpdateConditionNotSatisfied",
}  # fmt: skip
# The request itself is wrong, in general because of a name or of metadata: no retry helps.
_INVALID_CODES = frozenset({
    "BlockListTooLong", "EmptyMetadataKey", "EntityTooLarge", "InvalidBlockId", "InvalidMetadata",
    "InvalidResourceName", "InvalidUri", "MessageTooLarge", "MetadataTooLarge", "OutOfRangeInput",
    "PropertyNameInvalid", "PropertyNameTooLong", "PropertyValueTooLarge", "RequestBodyTooLarge",
    "RequestUrlFailedToParse", "TooManyProperties",
})  # fmt: skip
# The account refuses every request, with a status that says otherwise.
_DENIED_CODES = frozenset({"InvalidAuthenticationInfo", "NoAuthenticationInformation", "PublicAccessNotPermitted"})
# The account cannot be used for a while: 408 and 429 come from proxies and gateways, the codes from the service.
_UNAVAILABLE_CODES = frozenset({"AccountBeingCreated", "InternalError", "OperationTimedOut", "ServerBusy"})
_UNAVAILABLE_STATUSES = frozenset({0, 408, 429})


def error_from_code(operation: str, status: int, code: str, retry_after: str = "") -> PipelineError:
    """Return the pipeline's error for a refusal of storage. `status` is 0 for a response that cannot be parsed.

    A 4xx that is in no list counts attempts, and ends as a failure that the scheduled run takes (see `bounded`).
    """
    one_blob = _error_of_one_blob(operation, code)
    if one_blob:
        return one_blob
    if code in _PLACE_CODES:
        return StorageNotFound(f"{operation}: {code}: it does not exist; create it with `image-pipeline init`")
    if status in (401, 403) or code in _DENIED_CODES:
        return denied(operation, status, code)
    if code in _INVALID_CODES or (status in (413, 414) and not code):
        return PermanentError(
            f"{operation}: storage refuses the request: {status} {code}".rstrip(), kind="storage_invalid"
        )
    answer = f"{operation}: storage responded with {status or 'no status'} {code}".rstrip()
    delay = parse_retry_after(retry_after)
    if status >= 500 or status in _UNAVAILABLE_STATUSES or code in _UNAVAILABLE_CODES:
        return StorageUnavailable(answer, retry_after=delay)
    return StorageUnavailable(answer, kind="storage_refused", retry_after=delay, bounded=True)


def denied(operation: str, status: int, code: str) -> StorageUnavailable:
    """Return the error for a refused sign-in."""
    return StorageUnavailable(
        f"{operation}: storage refuses the sign-in (HTTP {status} {code}".rstrip()
        + f"); check the key in {CONNECTION}, "
        "or the identity's roles Storage Blob Data Owner, Queue Data Contributor and Table Data Contributor",
        kind="storage_denied",
    )


def _error_of_one_blob(operation: str, code: str) -> PipelineError | None:
    """Return the error for a code about one blob or row; None for any other code."""
    if code in _ARCHIVED_CODES:
        return SourceError(f"{operation}: the blob is in the archive tier: rehydrate it, then retry", kind="archived")
    if code in _CUSTOMER_KEY_CODES:
        return SourceError(
            f"{operation}: the blob is encrypted with a customer-provided key, which the pipeline does not have "
            f"({code}): store it without such a key, then retry",
            kind="customer_key",
        )
    if code in _IMMUTABLE_CODES:
        return OutputError(
            f"{operation}: an immutability policy of the container protects the blob ({code})", kind="immutable"
        )
    if code in _OCCUPIED_CODES:
        return OutputError(
            f"{operation}: the path holds something that a rendition cannot replace ({code}), such as a folder or an "
            "append blob: delete it, or change the recipe's path"
        )
    if code in _LEASED_CODES:
        return BlobUnavailable(
            f"{operation}: another program holds a lease on the blob ({code}): let it release the lease, then retry",
            kind="blob_leased",
        )
    if code in _BUSY_CODES:
        return BlobUnavailable(f"{operation}: another operation on the blob is under way ({code})")
    if code in _CHANGED_CODES:
        return BlobUnavailable(f"{operation}: another writer was faster ({code})", kind="overwritten")
    return None
