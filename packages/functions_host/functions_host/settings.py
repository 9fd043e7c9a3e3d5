"""What a function app says about itself beside its code: host.json, local.settings.json, the environment."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from devstack.errors import HostError

T = TypeVar("T")

HOST_STORAGE = "AzureWebJobsStorage"
HOST_ID = "AzureFunctionsWebHost__hostid"
CORES = os.cpu_count() or 1
# What this connection string stands for, in every SDK but the Python ones.
DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"


@dataclass(frozen=True)
class QueueOptions:
    """How a queue is read. Times are in seconds."""

    batch_size: int = 16
    new_batch_threshold: int = 8 * CORES
    max_dequeue_count: int = 5
    max_polling_interval: float = 60.0
    retry_delay: float = 0.0
    base64: bool = True


@dataclass(frozen=True)
class HostOptions:
    """The part of host.json that this host understands. Times are in seconds."""

    route_prefix: str
    function_timeout: float
    queues: QueueOptions
    blobs: QueueOptions


def local_settings(app: Path) -> None:
    """Put the Values of local.settings.json into the environment; what is set there already stays.

    Raises:
        HostError: the file cannot be read, or is encrypted.
    """
    settings = _json(app / "local.settings.json")
    if settings.get("IsEncrypted"):
        raise HostError("local.settings.json is encrypted: decrypt it with `func settings decrypt`")
    for name, value in settings.get("Values", {}).items():
        if not isinstance(value, str):
            raise HostError(f"local.settings.json: the value of {name} must be a string, in quotes")
        os.environ.setdefault(name, value)


def host_options(app: Path) -> HostOptions:
    """Read host.json, with the platform's defaults for what it does not say.

    Raises:
        HostError: a value is not what it must be.
    """
    document = _json(app / "host.json")
    read = _Reader(document)
    return HostOptions(
        route_prefix=read("extensions.http.routePrefix", str, "api").strip("/"),
        function_timeout=read("functionTimeout", _time_span, 1800.0),
        queues=_queue_options(read),
        blobs=_blob_options(read),
    )


def _queue_options(read: _Reader) -> QueueOptions:
    queue = "extensions.queues."
    batch = read(queue + "batchSize", int, 16)
    if not 1 <= batch <= 32:
        raise HostError(f"host.json: {queue}batchSize must be 1 to 32")
    return QueueOptions(
        batch_size=batch,
        new_batch_threshold=read(queue + "newBatchThreshold", int, CORES * batch // 2),
        max_dequeue_count=read(queue + "maxDequeueCount", int, 5),
        max_polling_interval=read(queue + "maxPollingInterval", _time_span, 60.0),
        retry_delay=read(queue + "visibilityTimeout", _time_span, 0.0),
        base64=read(queue + "messageEncoding", str, "base64") == "base64",
    )


def _blob_options(read: _Reader) -> QueueOptions:
    """How the one queue behind all blob triggers is read: a degree of parallelism P is P/2 + 1 and what is left."""
    parallel = read("extensions.blobs.maxDegreeOfParallelism", int, 8 * CORES)
    if parallel < 1:
        raise HostError("host.json: extensions.blobs.maxDegreeOfParallelism must be 1 or more")
    batch = min(32, parallel // 2 + 1)
    return QueueOptions(
        batch_size=batch,
        new_batch_threshold=parallel - batch,
        max_dequeue_count=read("extensions.blobs.poisonBlobThreshold", int, 5),
        max_polling_interval=1.0,  # another host may have found the blob: nothing wakes this one up
    )


def host_id(app: Path) -> str:
    """What tells the apps of one storage account apart: lower case letters and digits, 32 at most."""
    configured = os.environ.get(HOST_ID)
    return configured or "local" + hashlib.sha256(str(app.resolve()).encode()).hexdigest()[:12]


def resolve(text: str) -> str:
    """Replace every %NAME% with the setting of that name.

    Raises:
        HostError: there is no such setting.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise HostError(f"'%{match[1]}%' cannot be resolved: set {match[1]} in the environment")
        return found

    return re.sub(r"%([^%]+)%", value, text)


@dataclass(frozen=True)
class ByIdentity:
    """A storage account that a managed identity signs in to: the endpoint of a service, and which identity."""

    uri: str
    client_id: str | None


def connection(name: str, service: str) -> str | ByIdentity:
    """What a binding's `connection` leads to: a connection string, or the endpoint of `service` (blob, queue).

    Raises:
        HostError: it is not set, or does not name the service's endpoint.
    """
    for variable in (f"AzureWebJobs{name}", name):
        if value := os.environ.get(variable):
            return _development_storage() if value.strip().rstrip(";") == DEVELOPMENT_STORAGE else value
    for variable in (f"AzureWebJobs{name}__", f"{name}__"):
        if uri := os.environ.get(f"{variable}{service}ServiceUri"):
            return ByIdentity(uri, os.environ.get(f"{variable}clientId") or None)
    if any(variable.startswith(f"{name}__") for variable in os.environ):
        raise HostError(f"the connection {name} is by identity: set {name}__{service}ServiceUri to its {service}s")
    raise HostError(
        f"the connection {name} is not set: set {name} to the connection string of a storage account, or "
        f"{name}__{service}ServiceUri to its {service}s, for an identity"
    )


def _development_storage() -> str:
    from devstack.azurite import ACCOUNT, KEY, SERVICES

    ends = "".join(
        f"{service.title()}Endpoint=http://127.0.0.1:{port}/{ACCOUNT};" for port, service in enumerate(SERVICES, 10000)
    )
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{ends}"


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise HostError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise HostError(f"{path.name} must hold a JSON object")
    return document


@dataclass(frozen=True)
class _Reader:
    """Reads a value of host.json by its dotted path."""

    document: dict[str, Any]

    def __call__(self, path: str, kind: Callable[[Any], T], default: T) -> T:
        found: Any = self.document
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            return default
        try:
            return kind(found)
        except (TypeError, ValueError):
            raise HostError(f"host.json: {path} cannot be {found!r}") from None


def _time_span(text: object) -> float:
    """Seconds of `[days.]hours:minutes:seconds`; -1 is without end."""
    if str(text) == "-1":
        return math.inf
    match = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(text))
    if not match:
        raise ValueError(text)
    days, hours, minutes, seconds = match.groups()
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(seconds)
