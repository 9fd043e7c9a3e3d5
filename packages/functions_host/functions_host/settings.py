"""Read the settings of a function app: host.json, local.settings.json and environment variables."""

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from functions_host.errors import HostError

T = TypeVar("T")

HOST_STORAGE = "AzureWebJobsStorage"
HOST_ID_VARIABLE = "AzureFunctionsWebHost__hostid"
CPU_COUNT = os.cpu_count() or 1


@dataclass(frozen=True)
class QueueOptions:
    """Settings of a queue listener. Times are in seconds."""

    batch_size: int = 16
    new_batch_threshold: int = 8 * CPU_COUNT
    max_dequeue_count: int = 5
    max_polling_interval: float = 60.0
    retry_delay: float = 0.0
    base64: bool = True


@dataclass(frozen=True)
class HostJson:
    """The supported part of host.json. Times are in seconds."""

    route_prefix: str
    function_timeout: float
    queues: QueueOptions
    blobs: QueueOptions


@dataclass(frozen=True)
class _Reader:
    """Read values of host.json by dotted path."""

    document: dict[str, Any]

    def __call__(self, path: str, convert: Callable[[Any], T], default: T) -> T:
        value: Any = self.document
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return default
        try:
            return convert(value)
        except (TypeError, ValueError):
            raise HostError(f"host.json: {path} cannot be {value!r}") from None


def load_local_settings(app: Path) -> None:
    """Add the `Values` of local.settings.json to the environment. Variables that are set already keep their value.

    Raises:
        HostError: The file cannot be read, or is encrypted.
    """
    document = _load_json(app / "local.settings.json")
    if document.get("IsEncrypted"):
        raise HostError("local.settings.json is encrypted: decrypt it with `func settings decrypt`")
    for name, value in document.get("Values", {}).items():
        if not isinstance(value, str):
            raise HostError(f"local.settings.json: the value of {name} must be a string, in quotes")
        os.environ.setdefault(name, value)


def load_host_json(app: Path) -> HostJson:
    """Read host.json; missing values get the defaults of Azure.

    Raises:
        HostError: A value is invalid.
    """
    read = _Reader(_load_json(app / "host.json"))
    return HostJson(
        route_prefix=read("extensions.http.routePrefix", str, "api").strip("/"),
        function_timeout=read("functionTimeout", _parse_time_span, 1800.0),
        queues=_queue_options(read),
        blobs=_blob_options(read),
    )


def _queue_options(read: _Reader) -> QueueOptions:
    section = "extensions.queues."
    batch_size = read(section + "batchSize", int, 16)
    if not 1 <= batch_size <= 32:
        raise HostError(f"host.json: {section}batchSize must be 1 to 32")
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=read(section + "newBatchThreshold", int, CPU_COUNT * batch_size // 2),
        max_dequeue_count=read(section + "maxDequeueCount", int, 5),
        max_polling_interval=read(section + "maxPollingInterval", _parse_time_span, 60.0),
        retry_delay=read(section + "visibilityTimeout", _parse_time_span, 0.0),
        base64=read(section + "messageEncoding", str, "base64") == "base64",
    )


def _blob_options(read: _Reader) -> QueueOptions:
    """Return the options of the queue that all blob triggers share.

    As on Azure, a degree of parallelism P becomes a batch size of P/2 + 1; the rest of P is the new-batch threshold.
    """
    parallelism = read("extensions.blobs.maxDegreeOfParallelism", int, 8 * CPU_COUNT)
    if parallelism < 1:
        raise HostError("host.json: extensions.blobs.maxDegreeOfParallelism must be 1 or more")
    batch_size = min(32, parallelism // 2 + 1)
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=parallelism - batch_size,
        max_dequeue_count=read("extensions.blobs.poisonBlobThreshold", int, 5),
        max_polling_interval=1.0,  # the scan may run in another host, which cannot wake this one
    )


def host_id(app: Path) -> str:
    """Return the id that separates apps in one storage account: up to 32 lower-case letters and digits."""
    configured = os.environ.get(HOST_ID_VARIABLE)
    return configured or "local" + hashlib.sha256(str(app.resolve()).encode()).hexdigest()[:12]


def resolve_settings(text: str) -> str:
    """Replace every `%NAME%` with the environment variable of that name.

    Raises:
        HostError: A variable is not set.
    """

    def replacement(match: re.Match[str]) -> str:
        """Return the value of the variable in a match."""
        value = os.environ.get(match[1])
        if value is None:
            raise HostError(f"'%{match[1]}%' cannot be resolved: set {match[1]} in the environment")
        return value

    return re.sub(r"%([^%]+)%", replacement, text)


@dataclass(frozen=True)
class IdentityConnection:
    """A connection that signs in with a managed identity: service endpoint and client id."""

    uri: str
    client_id: str | None


def resolve_connection(name: str, service: str) -> str | IdentityConnection:
    """Return the connection string of a binding's `connection`, or the endpoint of `service` (blob or queue).

    Raises:
        HostError: The connection is not set, or has no endpoint of this service.
    """
    for variable in (f"AzureWebJobs{name}", name):
        if value := os.environ.get(variable):
            return value
    for variable in (f"AzureWebJobs{name}__", f"{name}__"):
        if uri := os.environ.get(f"{variable}{service}ServiceUri"):
            return IdentityConnection(uri, os.environ.get(f"{variable}clientId") or None)
    if any(variable.startswith(f"{name}__") for variable in os.environ):
        raise HostError(
            f"the connection {name} uses an identity but has no {service} endpoint: set {name}__{service}ServiceUri"
        )
    raise HostError(
        f"the connection {name} is not set: set {name} to the connection string of a storage account, or "
        f"{name}__{service}ServiceUri to its {service} endpoint to use an identity"
    )


def _load_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise HostError(f"{path.name} is not JSON: {error}") from None
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(document, dict):
        raise HostError(f"{path.name} must contain a JSON object")
    return document


def _parse_time_span(text: object) -> float:
    """Return the seconds of `[days.]hours:minutes:seconds`; -1 means no limit."""
    if str(text) == "-1":
        return math.inf
    match = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(text))
    if not match:
        raise ValueError(text)
    days, hours, minutes, seconds = match.groups()
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(seconds)
