"""The Jupyter protocol with one kernel: run code, collect what it prints and what it evaluates to.

The kernel is not trusted. Messages that are not signed or make no sense are dropped, a message over a size limit closes
the connection, and a closed connection is never opened again: the session could have put something else in its place.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import zmq

from session_pool_emulator.inside.values import MIME, without_nan
from session_pool_emulator.wire import Message, Wire

_MESSAGE_BYTES = 64 << 20
_IDLE_GRACE_SECONDS = 5.0
_HELLO_SECONDS = 0.05
_PROBE_SECONDS = 2.0
_MESSAGES_AT_ONCE = 64
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/svg+xml": "svg"}


class KernelLost(Exception):  # noqa: N818 - a state, not a mistake
    """The kernel ended, or does not speak the protocol any more."""


@dataclass
class Outcome:
    """What one run printed, what its last expression was, and whether it ended well. `ms` is wall time."""

    stdout: str = ""
    stderr: str = ""
    value: Value | None = None
    ok: bool = True
    ms: int = 0


@dataclass(frozen=True)
class Value:
    """The value of the last expression: its `text` as Python shows it, and `json` where it has such a form."""

    text: str = ""
    json: Any = None
    has_json: bool = False
    primitive: bool = False


@dataclass
class _Stream:
    """Keeps the first `limit` characters; the rest is dropped without a mark, as the service does it."""

    limit: int
    kept: list[str] = field(default_factory=list)
    room: int = 0

    def __post_init__(self) -> None:
        self.room = self.limit

    def write(self, text: str) -> None:
        if self.room > 0:
            self.kept.append(text[: self.room])
            self.room -= len(self.kept[-1])

    def text(self) -> str:
        return "".join(self.kept)


class _Run:
    """One execution under way."""

    def __init__(self, limit: int) -> None:
        self.message = ""
        self.started = time.perf_counter()
        self.stdout = _Stream(limit)
        self.stderr = _Stream(limit)
        self.value: Value | None = None
        self.ok = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gave_up = False
        self._replied = self._idle = False

    def reply(self, content: dict[str, Any]) -> None:
        """The last of the output may still be on its way; but output can be lost, so do not wait for ever."""
        self._replied = True
        self.ok = self.ok and content.get("status") == "ok"
        if self._idle:
            self.finish()
        else:
            asyncio.get_running_loop().call_later(_IDLE_GRACE_SECONDS, self._give_up)

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            stream = self.stderr if content["name"] == "stderr" else self.stdout
            stream.write(str(content["text"]))
        elif kind in ("execute_result", "display_data"):
            self.value = _value(content["data"], shown=kind == "display_data") or self.value
        elif kind == "error":
            self.ok = False
            self.stderr.write(_ANSI.sub("", "\n".join(map(str, content["traceback"]))) + "\n")
        elif kind == "status" and content["execution_state"] == "idle":
            self._idle = True
            if self._replied:
                self.finish()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _give_up(self) -> None:
        if not self.done.done():
            self.gave_up = True
            self.finish()

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def outcome(self) -> Outcome:
        ms = round((time.perf_counter() - self.started) * 1000)
        return Outcome(self.stdout.text(), self.stderr.text(), self.value, self.ok, ms)


def _value(data: dict[str, Any], *, shown: bool) -> Value | None:
    """The value that a message carries. Of what is only displayed, images count."""
    for mime, name in _IMAGES.items():
        if mime in data:
            image = {"type": "image", "format": name, "base64_data": str(data[mime]).replace("\n", "")}
            return Value(str(data.get("text/plain", "")), image, has_json=True)
    if shown:
        return None
    described = data.get(MIME) or {}
    has_json = "json" in described
    text = str(data.get("text/plain", ""))
    return Value(text, without_nan(described.get("json")), has_json, bool(described.get("primitive")))


def _connect(socket: zmq.Socket[bytes], path: str) -> None:
    """Only to a real socket, and only once: later something else could be in its place."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise KernelLost("the kernel's socket is not a socket")
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES)
    socket.connect(f"ipc://{path}")


class _Inbox:
    """Hands every signed, well-formed message that arrives on `socket` to `handle`.

    ZeroMQ's descriptor tells of changes, not of state: so all there is has to be read each time, and once more after
    anything was sent on the same socket.
    """

    def __init__(self, socket: zmq.Socket[bytes], wire: Wire, handle: Callable[[Message], None]) -> None:
        self._socket = socket
        self._wire = wire
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(socket.fileno(), self.read)
        self._loop.call_soon(self.read)

    def read(self) -> None:
        """Read what there is; let others have their turn if that does not end."""
        if self._socket.closed:
            return
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):  # anything can be in it
                self._handle(self._wire.read(frames))
        self._loop.call_soon(self.read)

    def close(self) -> None:
        """Give back the socket."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


class Kernel:
    """The connection to one kernel. `connect` once, then `run` one piece of code at a time."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], sockets: str, key: str) -> None:
        self._wire = Wire(key)
        self._sockets = sockets
        self._shell = context.socket(zmq.DEALER)
        self._iopub = context.socket(zmq.SUB)
        self._iopub.subscribe(b"")
        self._inboxes: list[_Inbox] = []
        self._run: _Run | None = None
        self._heard = asyncio.Event()
        self.gone = asyncio.Event()
        self._lost: KernelLost | None = None

    async def connect(self) -> None:
        """Connect and wait until output arrives too. Raises KernelLost."""
        for number, (socket, handle) in enumerate(((self._shell, self._hear_reply), (self._iopub, self._hear_output))):
            _connect(socket, f"{self._sockets}-{number + 1}")
            self._inboxes.append(_Inbox(socket, self._wire, handle))
        while not self._heard.is_set():
            self._send("kernel_info_request", {})
            try:
                async with asyncio.timeout(_HELLO_SECONDS):
                    await self._heard.wait()
            except TimeoutError:
                if self._lost:
                    raise self._lost from None

    async def run(self, code: str, limit: int) -> Outcome:
        """Run `code`; keep `limit` characters of each stream. Raises KernelLost; cancelling leaves it running."""
        if self._lost:
            raise self._lost
        run = self._run = _Run(limit)
        request = {"code": code, "silent": False, "store_history": False, "user_expressions": {}}
        run.message = self._send("execute_request", request | {"allow_stdin": False, "stop_on_error": True})
        await asyncio.shield(run.done)
        return run.outcome()

    async def is_deaf(self) -> bool:
        """Whether output does not arrive any more: a message over the limit has closed the connection, say."""
        if self._run is None or not self._run.gave_up:
            return False
        self._heard.clear()
        self._send("kernel_info_request", {})
        with suppress(TimeoutError):
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._heard.wait()
        return not self._heard.is_set()

    def so_far(self) -> Outcome:
        """What the run under way has printed until now."""
        return self._run.outcome() if self._run else Outcome()

    async def finished(self) -> None:
        """Until the run under way has ended. Raises KernelLost."""
        if self._run:
            await asyncio.shield(self._run.done)

    def lose(self, reason: str) -> None:
        """The kernel is known to be gone: whoever waits for it is told."""
        self._lost = self._lost or KernelLost(reason)
        self.gone.set()
        if self._run:
            self._run.fail(self._lost)
            self._run.done.exception()

    def close(self) -> None:
        """Give back the sockets."""
        self.lose("the session has ended")
        for inbox in self._inboxes:
            inbox.close()
        self._shell.close()
        self._iopub.close()

    def _send(self, kind: str, content: dict[str, Any]) -> str:
        identity, frames = self._wire.pack(kind, content)
        try:
            self._shell.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            raise KernelLost("the kernel takes no more messages") from None
        asyncio.get_running_loop().call_soon(self._inboxes[0].read)
        return identity

    def _hear_reply(self, message: Message) -> None:
        run = self._run_of(message)
        if run and message.kind == "execute_reply":
            run.reply(message.content())

    def _hear_output(self, message: Message) -> None:
        self._heard.set()
        if run := self._run_of(message):
            run.publish(message.kind, message.content())

    def _run_of(self, message: Message) -> _Run | None:
        """The run under way, if the message belongs to it; output of earlier ones has nowhere to go any more."""
        ours = self._run is not None and message.parent == self._run.message
        return self._run if ours else None
