"""Client of one Jupyter kernel: executes code, collects its output and the value of its last expression.

The kernel is untrusted. The client drops messages that are unsigned or malformed. A message above the size limit closes
the connection. The client never reconnects, because the session could have replaced the socket.

Messages are signed Jupyter messages, protocol 5: the parts that executions need. `jupyter_client` does the
same and more (dates, adapters, replay protection), but takes a third of the time of a warm execution. Reference: "The
wire protocol" on the messaging page of the Jupyter documentation.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import stat
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import zmq

from session_pool_emulator.inside.values import MIME, replace_nan

_DELIMITER = b"<IDS|MSG>"
_PROTOCOL_VERSION = "5.3"


@dataclass(frozen=True)
class Message:
    """Message with a valid signature. `parent_id` is the id of the request that it belongs to."""

    msg_type: str
    parent_id: str
    raw_content: bytes

    def content(self) -> dict[str, Any]:
        """Parse the content of the message.

        Raises:
            ValueError: The content is not a JSON object.
        """
        content = json.loads(self.raw_content)
        if not isinstance(content, dict):
            raise ValueError("the content of the message is not a JSON object")  # noqa: TRY004 - invalid data, not a bug
        return content


class MessageCodec:
    """Encoder and decoder of messages that are signed with one key (HMAC-SHA256)."""

    def __init__(self, key: str) -> None:
        """Sign and verify with `key`."""
        self._signer = hmac.new(key.encode(), digestmod=hashlib.sha256)
        self._session = uuid.uuid4().hex

    def encode(self, msg_type: str, content: dict[str, Any]) -> tuple[str, list[bytes]]:
        """Return the id and the frames of a new message."""
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "session": self._session,
            "username": "",
            "date": datetime.now(UTC).isoformat(),
            "msg_type": msg_type,
            "version": _PROTOCOL_VERSION,
        }
        parts = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        return msg_id, [_DELIMITER, self._sign(parts), *parts]

    def decode(self, frames: list[bytes]) -> Message:
        """Verify and decode the frames of a message.

        Raises:
            ValueError, LookupError, TypeError, RecursionError: The frames are not a message, or the signature is wrong.
        """
        start = frames.index(_DELIMITER)
        signature, *parts = frames[start + 1 : start + 6]
        if not hmac.compare_digest(signature, self._sign(parts)):
            raise ValueError("the message has an invalid signature")
        header, parent = json.loads(parts[0]), json.loads(parts[1])
        return Message(str(header["msg_type"]), str(parent.get("msg_id", "")), parts[3])

    def _sign(self, parts: list[bytes]) -> bytes:
        """Return the hexadecimal signature of the message parts."""
        signer = self._signer.copy()
        for part in parts:
            signer.update(part)
        return signer.hexdigest().encode()


_MAX_MESSAGE_BYTES = 64 << 20
_IDLE_TIMEOUT_SECONDS = 5.0
_CONNECT_RETRY_SECONDS = 0.05
_PROBE_TIMEOUT_SECONDS = 2.0
_MAX_MESSAGES_PER_READ = 64
_ANSI_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IMAGE_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/svg+xml": "svg"}


class KernelLostError(Exception):
    """Raised if the kernel has ended or no longer follows the protocol."""


@dataclass(frozen=True)
class ExpressionValue:
    """Value of the last expression: its `repr` as `text`, and its JSON form if it has one."""

    text: str = ""
    json: Any = None
    has_json: bool = False
    primitive: bool = False


@dataclass
class ExecutionResult:
    """Result of one execution. `value` is the value of the last expression, `duration_ms` the wall-clock time."""

    stdout: str = ""
    stderr: str = ""
    value: ExpressionValue | None = None
    succeeded: bool = True
    duration_ms: int = 0


@dataclass
class _OutputStream:
    """Output stream that keeps the first `limit` characters and drops the rest without a marker, like the service."""

    limit: int
    chunks: list[str] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Append `text` up to the limit."""
        if self.limit > 0:
            self.chunks.append(text[: self.limit])
            self.limit -= len(self.chunks[-1])

    def text(self) -> str:
        """Return the kept text."""
        return "".join(self.chunks)


class _Execution:
    """State of the current execution."""

    def __init__(self, output_limit: int) -> None:
        self.msg_id = ""
        self.started = time.perf_counter()
        self.stdout = _OutputStream(output_limit)
        self.stderr = _OutputStream(output_limit)
        self.value: ExpressionValue | None = None
        self.succeeded = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.output_timed_out = False
        self._replied = self._idle = False

    def on_reply(self, content: dict[str, Any]) -> None:
        """Handle the reply on the shell channel.

        Output can arrive until the kernel reports that it is idle. Output can also be lost: the wait is limited to 5 s.
        """
        self._replied = True
        self.succeeded = self.succeeded and content.get("status") == "ok"
        if self._idle:
            self._finish()
        else:
            asyncio.get_running_loop().call_later(_IDLE_TIMEOUT_SECONDS, self._on_idle_timeout)

    def on_output(self, msg_type: str, content: dict[str, Any]) -> None:
        """Handle a message on the IOPub channel: output, a value, an error or a status change."""
        if msg_type == "stream":
            stream = self.stderr if content["name"] == "stderr" else self.stdout
            stream.write(str(content["text"]))
        elif msg_type in ("execute_result", "display_data"):
            self.value = _parse_value(content["data"], displayed=msg_type == "display_data") or self.value
        elif msg_type == "error":
            self.succeeded = False
            self.stderr.write(_ANSI_ESCAPE.sub("", "\n".join(map(str, content["traceback"]))) + "\n")
        elif msg_type == "status" and content["execution_state"] == "idle":
            self._idle = True
            if self._replied:
                self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _on_idle_timeout(self) -> None:
        if not self.done.done():
            self.output_timed_out = True
            self._finish()

    def fail(self, error: Exception) -> None:
        """End the execution with an error."""
        if not self.done.done():
            self.done.set_exception(error)

    def result(self) -> ExecutionResult:
        """Return the result so far."""
        duration_ms = round((time.perf_counter() - self.started) * 1000)
        return ExecutionResult(self.stdout.text(), self.stderr.text(), self.value, self.succeeded, duration_ms)


def _parse_value(data: dict[str, Any], *, displayed: bool) -> ExpressionValue | None:
    """Parse the MIME bundle of a value. Of displayed data, only images count as a value."""
    for mime, name in _IMAGE_FORMATS.items():
        if mime in data:
            image = {"type": "image", "format": name, "base64_data": str(data[mime]).replace("\n", "")}
            return ExpressionValue(str(data.get("text/plain", "")), image, has_json=True)
    if displayed:
        return None
    described = data.get(MIME) or {}
    text = str(data.get("text/plain", ""))
    primitive = bool(described.get("primitive"))
    return ExpressionValue(text, replace_nan(described.get("json")), "json" in described, primitive)


def _connect_socket(socket: zmq.Socket[bytes], path: str) -> None:
    """Connect once, and only to a real socket: the session can replace the file later."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise KernelLostError("the socket file of the kernel is not a socket")
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
    socket.connect(f"ipc://{path}")


class _MessageReader:
    """Reader that passes each signed, well-formed message of a socket to a handler.

    The descriptor of a ZeroMQ socket signals changes, not state. Therefore the reader drains the socket at each signal,
    and again after each send on the same socket.
    """

    def __init__(self, socket: zmq.Socket[bytes], codec: MessageCodec, handle: Callable[[Message], None]) -> None:
        self._socket = socket
        self._codec = codec
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(socket.fileno(), self.read)
        self._loop.call_soon(self.read)

    def read(self) -> None:
        """Read the available messages; yield to the event loop after 64 of them."""
        if self._socket.closed:
            return
        for _ in range(_MAX_MESSAGES_PER_READ):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):  # malformed message
                self._handle(self._codec.decode(frames))
        self._loop.call_soon(self.read)

    def close(self) -> None:
        """Stop reading and close the socket."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


class KernelClient:
    """Connection to one kernel. `connect` once, then `execute` one piece of code at a time."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], socket_prefix: str, key: str) -> None:
        """Prepare a connection to the sockets `{socket_prefix}-1` (shell) and `-2` (IOPub), signed with `key`."""
        self._codec = MessageCodec(key)
        self._socket_prefix = socket_prefix
        self._shell = context.socket(zmq.DEALER)
        self._iopub = context.socket(zmq.SUB)
        self._iopub.subscribe(b"")
        self._readers: list[_MessageReader] = []
        self._execution: _Execution | None = None
        self._output_received = asyncio.Event()
        self.lost = asyncio.Event()
        self._error: KernelLostError | None = None

    async def connect(self) -> None:
        """Connect and wait until the kernel's output arrives.

        Raises:
            KernelLostError: The kernel has ended.
        """
        for number, (socket, handle) in enumerate(((self._shell, self._on_reply), (self._iopub, self._on_output)), 1):
            _connect_socket(socket, f"{self._socket_prefix}-{number}")
            self._readers.append(_MessageReader(socket, self._codec, handle))
        while not self._output_received.is_set():
            self._send("kernel_info_request", {})
            try:
                async with asyncio.timeout(_CONNECT_RETRY_SECONDS):
                    await self._output_received.wait()
            except TimeoutError:
                if self._error:
                    raise self._error from None

    async def execute(self, code: str, output_limit: int) -> ExecutionResult:
        """Execute `code` and keep `output_limit` characters of each stream. Cancelling does not stop the code.

        Raises:
            KernelLostError: The kernel has ended.
        """
        if self._error:
            raise self._error
        execution = self._execution = _Execution(output_limit)
        request = {"code": code, "silent": False, "store_history": False, "user_expressions": {}}
        execution.msg_id = self._send("execute_request", request | {"allow_stdin": False, "stop_on_error": True})
        await asyncio.shield(execution.done)
        return execution.result()

    async def output_is_lost(self) -> bool:
        """Return whether output no longer arrives, for example after a message above the size limit."""
        if self._execution is None or not self._execution.output_timed_out:
            return False
        self._output_received.clear()
        self._send("kernel_info_request", {})
        with suppress(TimeoutError):
            async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                await self._output_received.wait()
        return not self._output_received.is_set()

    def partial_result(self) -> ExecutionResult:
        """Return the output of the current execution so far."""
        return self._execution.result() if self._execution else ExecutionResult()

    async def wait_until_done(self) -> None:
        """Wait for the end of the current execution.

        Raises:
            KernelLostError: The kernel has ended.
        """
        if self._execution:
            await asyncio.shield(self._execution.done)

    def close(self) -> None:
        """Close the sockets; the current execution fails with KernelLostError."""
        self._error = self._error or KernelLostError("the session has ended")
        self.lost.set()
        if self._execution:
            self._execution.fail(self._error)
            self._execution.done.exception()
        for reader in self._readers:
            reader.close()
        self._shell.close()
        self._iopub.close()

    def _send(self, msg_type: str, content: dict[str, Any]) -> str:
        """Send a message on the shell channel and return its id."""
        msg_id, frames = self._codec.encode(msg_type, content)
        try:
            self._shell.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            raise KernelLostError("the kernel does not accept messages") from None
        asyncio.get_running_loop().call_soon(self._readers[0].read)
        return msg_id

    def _on_reply(self, message: Message) -> None:
        execution = self._execution_of(message)
        if execution and message.msg_type == "execute_reply":
            execution.on_reply(message.content())

    def _on_output(self, message: Message) -> None:
        self._output_received.set()
        if execution := self._execution_of(message):
            execution.on_output(message.msg_type, message.content())

    def _execution_of(self, message: Message) -> _Execution | None:
        """Return the current execution if the message belongs to it; drop output of earlier executions."""
        current = self._execution is not None and message.parent_id == self._execution.msg_id
        return self._execution if current else None
