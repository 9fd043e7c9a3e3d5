"""Blob triggers: which blobs trigger which function, the message for each, and what the function is handed."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass

from azure.core.exceptions import ResourceNotFoundError
from azure.functions.blob import InputStream
from azure.storage.blob import BlobProperties
from azurefunctions.extensions.bindings import blob as sdk

from devstack.errors import HostError
from devstack.host.functions import Function
from devstack.host.invoke import Invoker
from devstack.host.queues import Delivery, encode
from devstack.host.settings import resolve
from devstack.host.storage import Accounts, ensure_queue

log = logging.getLogger("host")
POISON_QUEUE = "webjobs-blobtrigger-poison"
ID_PREFIX = "Host.Functions."


@dataclass(frozen=True)
class BlobTrigger:
    """A function and the blobs that trigger it."""

    function: Function
    container: str
    prefix: str
    names: re.Pattern[str]

    @classmethod
    def of(cls, function: Function) -> BlobTrigger:
        """Read the trigger's path: a container, or a container and a pattern such as `in/{name}.{extension}`.

        Raises:
            HostError: it is neither.
        """
        container, _, pattern = resolve(function.trigger["path"]).partition("/")
        literal, *rest = re.split(r"\{(\w+)\}", pattern or "{name}")
        names, literals = rest[::2], rest[1::2]
        if not container or len(set(names)) < len(names):
            raise HostError(f"{function.name}: '{function.trigger['path']}' is not container/pattern")
        pairs = zip(names, literals, strict=True)
        regex = re.escape(literal) + "".join(f"(?P<{name}>.+){re.escape(after)}" for name, after in pairs)
        return cls(function, container, literal, re.compile(regex, re.DOTALL))

    @property
    def by_events(self) -> bool:
        """Whether Event Grid is to tell of the blobs; if not, a scan finds them."""
        return self.function.trigger.get("source") == "EventGrid"

    def matches(self, name: str) -> bool:
        """Whether a blob of the container triggers the function."""
        return self.names.fullmatch(name) is not None


@dataclass(frozen=True)
class Message:
    """One blob for one function, in the shared queue and in the poison queue: the platform's field names."""

    function: str
    container: str
    name: str
    etag: str

    def dump(self) -> str:
        """As JSON."""
        fields = {"FunctionId": ID_PREFIX + self.function, "BlobType": "BlockBlob", "ContainerName": self.container}
        return json.dumps({**fields, "BlobName": self.name, "ETag": self.etag})

    @classmethod
    def load(cls, text: bytes) -> Message:
        """Read what `dump` wrote."""
        document = json.loads(text)
        function = document["FunctionId"].removeprefix(ID_PREFIX)
        return cls(function, document["ContainerName"], document["BlobName"], document.get("ETag", ""))


class BlobFunctions:
    """What the listener of the shared queue does with its messages."""

    def __init__(self, triggers: list[BlobTrigger], accounts: Accounts, invoke: Invoker) -> None:
        self._functions = {trigger.function.name: trigger.function for trigger in triggers}
        self._accounts = accounts
        self._invoke = invoke

    async def handle(self, delivery: Delivery) -> None:
        """Call the function, unless the blob is gone, or was replaced (which has a message of its own)."""
        message = _read(delivery)
        if message is None:
            return
        function = self._functions.get(message.function)
        blob = await self._current(function, message) if function else None
        if function is None or blob is None:
            log.info("dropped a message: %s/%s is no more, or not this version", message.container, message.name)
            return
        value = await self._value(function, message, blob)
        await self._invoke(function, value, f"blob {message.container}/{message.name}, try {delivery.tries}")

    async def poison(self, delivery: Delivery) -> None:
        """Set the message aside, in the account of the blob."""
        message = Message.load(delivery.body or b"")
        connection = self._functions[message.function].connection
        await ensure_queue(self._accounts, connection, POISON_QUEUE)
        queue = self._accounts.queues(connection).get_queue_client(POISON_QUEUE)
        await queue.send_message(encode(message.dump()))

    async def _current(self, function: Function, message: Message) -> BlobProperties | None:
        client = self._accounts.blobs(function.connection).get_blob_client(message.container, message.name)
        try:
            blob = await client.get_blob_properties()
        except ResourceNotFoundError:
            return None
        # Event Grid says nothing about versions: the platform checks them for its own scans only.
        stale = function.trigger.get("source") != "EventGrid" and blob.etag.strip('"') != message.etag
        return None if stale else blob

    async def _value(self, function: Function, message: Message, blob: BlobProperties) -> object:
        address = (message.container, message.name)
        if function.kind is sdk.BlobClient:
            return self._accounts.sync_blobs(function.connection).get_blob_client(*address)
        client = self._accounts.blobs(function.connection).get_blob_client(*address)
        data = await (await client.download_blob()).readall()
        if function.kind in (bytes, str):
            return data if function.kind is bytes else data.decode(errors="replace")
        name = "/".join(address)
        return InputStream(data=data, name=name, uri=client.url, length=blob.size, metadata=blob.metadata)


def _read(delivery: Delivery) -> Message | None:
    try:
        return Message.load(delivery.body or b"")
    except (ValueError, TypeError, KeyError, AttributeError):
        log.error("dropped a message that is none of this host's: %s", (delivery.body or b"")[:200])  # noqa: TRY400
        return None
