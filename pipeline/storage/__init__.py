"""Clients of Azure Storage: sources and renditions, ledger, queues, runs, leased documents.

Other folders import from here, not from the modules.
"""

from pipeline.storage.account import READ_CHUNK_BYTES, READ_COPIES, Account, create_all
from pipeline.storage.assets import Asset, Assets
from pipeline.storage.blobs import (
    BlobName,
    Source,
    Sources,
    is_blob_name,
    safe_file_name,
    unquoted,
)
from pipeline.storage.claim import NO_OPTIONS, Claim, ClaimOptions
from pipeline.storage.dead_letter_container import DeadLetterBlob, DeadLetterContainer
from pipeline.storage.deployment import deployment_number, is_older
from pipeline.storage.ended_jobs import EndedJobs
from pipeline.storage.entry import (
    LONG_AGO,
    STAGES,
    STATES,
    SUMMARY_COLUMNS,
    UNREADABLE_PARTITION,
    Entry,
    State,
    Version,
    fits_row,
    outputs_of,
)
from pipeline.storage.json_documents import DocumentName, DocumentStore, StoredDocument
from pipeline.storage.keys import JobKey, row_key, source_of, source_prefix
from pipeline.storage.leased_documents import DocumentSummary, LeasedDocuments
from pipeline.storage.ledger import Ledger
from pipeline.storage.ledger_queries import FailureGroup, cursor_before
from pipeline.storage.listed import Listed
from pipeline.storage.metrics import MAX_PERIOD, MetricsStore, MinuteMetrics
from pipeline.storage.queue import (
    MAX_BODY_BYTES,
    Item,
    JobQueue,
    Message,
    QueueMessage,
    Receipt,
    RunWork,
    content_of,
    mark_unreadable,
    unreadable_since,
)
from pipeline.storage.queue_incarnations import QueueIncarnations, QueueLoss
from pipeline.storage.rendition_mark import JOB_METADATA_KEY, MarkedBlob, RenditionMark
from pipeline.storage.renditions import RenditionBlob, Renditions
from pipeline.storage.run_store import UNFINISHED, Batch, Document, Outcome, RunStore
from pipeline.storage.shard_moves import PartitionMove, ShardMoves
from pipeline.storage.shards import DEFAULT_SHARDS, MAX_SHARDS, VALID_SECONDS, ShardNumber, Shards
from pipeline.storage.shared_secret import SharedSecret
from pipeline.storage.slot_status_table import SlotStatusTable
from pipeline.storage.source_facts import SourceFacts
from pipeline.storage.staging import Staged
from pipeline.storage.stored_model import StoredModel
from pipeline.storage.waiting_jobs import WaitingJob, WaitingJobs

__all__ = [
    "DEFAULT_SHARDS",
    "JOB_METADATA_KEY",
    "LONG_AGO",
    "MAX_BODY_BYTES",
    "MAX_PERIOD",
    "MAX_SHARDS",
    "NO_OPTIONS",
    "READ_CHUNK_BYTES",
    "READ_COPIES",
    "STAGES",
    "STATES",
    "SUMMARY_COLUMNS",
    "UNFINISHED",
    "UNREADABLE_PARTITION",
    "VALID_SECONDS",
    "Account",
    "Asset",
    "Assets",
    "Batch",
    "BlobName",
    "Claim",
    "ClaimOptions",
    "DeadLetterBlob",
    "DeadLetterContainer",
    "Document",
    "DocumentName",
    "DocumentStore",
    "DocumentSummary",
    "EndedJobs",
    "Entry",
    "FailureGroup",
    "Item",
    "JobKey",
    "JobQueue",
    "LeasedDocuments",
    "Ledger",
    "Listed",
    "MarkedBlob",
    "Message",
    "MetricsStore",
    "MinuteMetrics",
    "Outcome",
    "PartitionMove",
    "QueueIncarnations",
    "QueueLoss",
    "QueueMessage",
    "Receipt",
    "RenditionBlob",
    "RenditionMark",
    "Renditions",
    "RunStore",
    "RunWork",
    "ShardMoves",
    "ShardNumber",
    "Shards",
    "SharedSecret",
    "SlotStatusTable",
    "Source",
    "SourceFacts",
    "Sources",
    "Staged",
    "State",
    "StoredDocument",
    "StoredModel",
    "Version",
    "WaitingJob",
    "WaitingJobs",
    "content_of",
    "create_all",
    "cursor_before",
    "deployment_number",
    "fits_row",
    "is_blob_name",
    "is_older",
    "mark_unreadable",
    "outputs_of",
    "row_key",
    "safe_file_name",
    "source_of",
    "source_prefix",
    "unquoted",
    "unreadable_since",
]
