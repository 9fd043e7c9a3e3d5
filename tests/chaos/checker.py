"""Check the final state of storage, without any code of the pipeline."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from tests.chaos import requests
from tests.chaos.account import Account
from tests.chaos.deployments import Deployments
from tests.chaos.scene import DEAD_LETTERS
from tests.chaos.sources import Sources

# Failure kinds of valid images whose session or worker failed; each names its cause. A fault of a service is none of
# them: its time is not up within a run.
WEATHER = {
    "session_lost", "session_died", "session_replaced", "session_full", "session_tainted", "execution_interrupted",
    "out_of_memory", "execution_timeout", "job_timeout", "microbatch_interrupted", "transient",
    "pool_refused", "storage_refused", "blob_busy", "undeliverable", "lease_lost", "overwritten",
}  # fmt: skip
QUEUES = ("jobs", "jobs-poison", "runs", "runs-poison", "azure-webjobs-blobtrigger-chaos", "webjobs-blobtrigger-poison")


@dataclass
class Found:
    """Result of the check: `violations` of invariants, and `failed`, the images that injected faults cost."""

    violations: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    renditions: int = 0
    requests: int = 0


@dataclass
class Checker:
    """Check of the final state.

    `bad` is the expected failure kind by content, and `calm` the digest of each rendition by recipe version, content
    and file name, from a run without faults.
    """

    account: Account
    sources: Sources
    bad: Mapping[str, str]
    calm: Mapping[str, Mapping[str, Mapping[str, str]]]
    deployments: Deployments

    def settled(self) -> bool:
        """Return True if all work has ended: every source is done in its latest version, and no message waits."""
        return not self.unsettled()

    def unsettled(self) -> list[str]:
        """Return what has not ended: messages and events first, then jobs."""
        if waiting := [f"messages in {name}" for name in self._waiting()] + self._dead_letters():
            return waiting
        rows, asked, etags = self.rows(), self.rows(requests.RECIPE), self._etags()
        current = (etags, self.deployments.active_hash)
        names = [name for name in self._there() if not _has_ended(rows.get(name), name, *current)]
        names += [row["name"] for row in (*rows.values(), *asked.values()) if row["state"] in ("running", "queued")]
        return names + [f"messages in {name}" for name in self._waiting()]

    def recorded(self) -> set[tuple[str, str]]:
        """Return the permanent failures in the ledger: name and ETag of their sources."""
        kinds = " or ".join(f"error_kind eq '{kind}'" for kind in sorted(set(self.bad.values())))
        asked = f"{_partitions('web')} and state eq 'failed' and RowKey lt '~' and ({kinds})"
        with self.account.tables(retry_total=0) as tables:
            rows = tables.get_table_client("ledger").query_entities(asked, select=["name", "source_etag"])
            return {(row["name"], row["source_etag"]) for row in rows}

    def leased(self) -> list[str]:
        """Return the slots with a lease."""
        with self.account.blobs() as blobs:
            slots = blobs.get_container_client("state").list_blobs(name_starts_with="slots/")
            return [blob.name for blob in slots if blob.lease.status == "locked"]

    def kept(self) -> str:
        """Return all texts of the ledger and of the renditions' metadata, to search them for secrets."""
        with self.account.tables() as tables, self.account.blobs() as blobs:
            rows = [str(dict(row)) for row in tables.get_table_client("ledger").list_entities()]
            output = blobs.get_container_client("output").list_blobs(include=["metadata"])
            return "\n".join([*rows, *(f"{blob.name} {blob.metadata}" for blob in output)])

    def check(self) -> Found:
        """Check all invariants after the run."""
        found, rows, outputs = Found(), self.rows(), self._outputs()
        etags = self._etags()
        found.renditions = len(outputs)
        found.states.update(str(row["state"]) for row in rows.values())
        made: dict[str, dict[str, bytes]] = defaultdict(dict)
        for path, data in outputs.items():
            recipe, name, rendition = path.split("/", 1)[0], *path.split("/", 1)[1].rsplit("/", 1)
            if recipe == "web":
                made[name][rendition] = data
                if name not in self.sources.wanted:
                    found.violations.append(f"output/{path} belongs to no source")
        for name in self._there():
            found.violations += self._source(name, rows.get(name), etags.get(name), made[name], found)
        asked = list(self.rows(requests.RECIPE).values())
        found.violations += requests.violations(asked, outputs, self.sources, self.calm["first"])
        found.requests = len(asked)
        found.violations += self._leftovers(rows)
        return found

    def _there(self) -> list[str]:
        return [name for name, content in self.sources.wanted.items() if content is not None]

    def _source(
        self, name: str, row: dict[str, Any] | None, etag: str | None, made: dict[str, bytes], found: Found
    ) -> Iterator[str]:
        content = str(self.sources.wanted[name])
        if row is None or row["state"] not in ("done", "failed"):
            yield f"{name}: its job is {row['state'] if row else 'unknown'}"
        elif row["source_etag"] != etag:
            yield f"{name}: its row is about another version than the latest"
        elif content in self.bad:
            kind, said = row.get("error_kind"), row.get("error_message", "")
            if (row["state"], kind) != ("failed", self.bad[content]) and not self._weather(row, found):
                yield f"{name} ({content}): {row['state']} {kind}: {said[:100]}"
        elif row["state"] == "failed":
            if not self._weather(row, found):
                yield f"{name}: a good picture failed with {row['error_kind']}: {row['error_message'][:200]}"
        elif {file: hashlib.sha256(data).hexdigest() for file, data in made.items()} != (
            self.calm[self.deployments.active][content]
        ):
            yield f"{name}: its renditions {sorted(made)} are not those of {content} in the active recipe version"

    def _weather(self, row: dict[str, Any], found: Found) -> bool:
        """Describe a failure that an injected fault explains."""
        if row["state"] != "failed":
            return False
        named = row["error_kind"] in WEATHER or "No space left" in row["error_message"]
        if not named or len(row["error_message"]) < 15:
            return False
        found.failed[str(row["name"])] = f"{row['error_kind']}: {row['error_message']}"
        return True

    def _leftovers(self, rows: dict[str, dict[str, Any]]) -> Iterator[str]:
        yield from (
            f"{name}: still {row['state']}" for name, row in rows.items() if row["state"] in ("running", "queued")
        )
        yield from (f"{count} messages are left in {queue}" for queue, count in self._waiting().items())
        yield from (f"the dead-lettered events in {name} are not processed" for name in self._dead_letters())
        with self.account.tables() as tables:
            listed = defaultdict(set)
            for row in tables.get_table_client("ledger").query_entities(_partitions("web")):
                if row.get("job"):
                    listed[row["job"]].add(row["RowKey"])
                else:
                    listed[row["RowKey"]] ^= set()
        for name, row in rows.items():
            if listed.pop(row["RowKey"], set()) != {row["listed"]}:
                yield f"{name}: it is not listed where its row says"
        yield from (f"a list names the job {key}, which does not exist" for key in listed)
        yield from self._blob_leftovers()

    def _blob_leftovers(self) -> Iterator[str]:
        yield from (f"the slot {name} is still leased" for name in self.leased())
        with self.account.blobs() as blobs:
            output = blobs.get_container_client("output")
            seen = {blob.name for blob in output.list_blobs()}
            yield from (
                f"output/{blob.name} was started and never committed"
                for blob in output.list_blobs(include=["uncommittedblobs"])
                if blob.name not in seen
            )

    def rows(self, recipe: str = "web") -> dict[str, dict[str, Any]]:
        """Return the rows of a recipe's jobs by the names of their sources."""
        with self.account.tables() as tables:
            rows = tables.get_table_client("ledger").query_entities(_partitions(recipe))
            return {row["name"]: dict(row) for row in rows if "owner" in row}

    def _etags(self) -> dict[str, str]:
        with self.account.blobs() as blobs:
            return {blob.name: blob.etag.strip('"') for blob in blobs.get_container_client("input").list_blobs()}

    def _outputs(self) -> dict[str, bytes]:
        with self.account.blobs() as blobs:
            output = blobs.get_container_client("output")
            return {blob.name: output.download_blob(blob.name).readall() for blob in output.list_blobs()}

    def _dead_letters(self) -> list[str]:
        """Return the blobs of the app's subscription that no timer has processed or kept aside."""
        with self.account.blobs() as blobs:
            letters = blobs.get_container_client(DEAD_LETTERS).list_blobs("IMAGE-UPLOADED/", include=["metadata"])
            return [blob.name for blob in letters if not blob.metadata]

    def _waiting(self) -> dict[str, int]:
        counts = {}
        with self.account.queues() as queues:
            for name in QUEUES:
                try:
                    counts[name] = queues.get_queue_client(name).get_queue_properties().approximate_message_count or 0
                except ResourceNotFoundError:
                    continue
        return {name: count for name, count in counts.items() if count}


def _has_ended(row: dict[str, Any] | None, name: str, etags: Mapping[str, str], recipe_hash: str) -> bool:
    """Return whether the row of a source shows the end of the job of its latest version and the active recipe."""
    if row is None or row["state"] not in ("done", "failed"):
        return False
    return bool(row["source_etag"] == etags.get(name) and row["recipe_hash"] == recipe_hash)


def _partitions(recipe: str) -> str:
    """Return the condition for all shards of a recipe, such as `web~00`."""
    return f"PartitionKey ge '{recipe}~' and PartitionKey lt '{recipe}~~'"
