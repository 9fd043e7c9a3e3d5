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
import zmq.asyncio
from jupyter_client.session import Session as Wire

from devstack.session_pool.inside.values import MIME, without_nan

_MESSAGE_BYTES = 64 << 20
_IDLE_GRACE_SECONDS = 1.0
_HELLO_SECONDS = 0.05
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
        self._replied = self._idle = False

    def reply(self, content: dict[str, Any]) -> None:
        """The last of the output may still be on its way; but output can be lost, so do not wait for ever."""
        self._replied = True
        self.ok = self.ok and content.get("status") == "ok"
        if self._idle:
            self.finish()
        else:
            asyncio.get_running_loop().call_later(_IDLE_GRACE_SECONDS, self.finish)

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


def _connect(socket: zmq.asyncio.Socket, path: str) -> None:
    """Only to a real socket, and only once: later something else could be in its place."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise KernelLost("the kernel's socket is not a socket")
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES)
    socket.connect(f"ipc://{path}")


async def _read(socket: zmq.asyncio.Socket, wire: Wire, handle: Callable[[dict[str, Any]], None]) -> None:
    """Give every signed, well-formed message that arrives on `socket` to `handle`, for ever."""
    while True:
        frames = await socket.recv_multipart()
        with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):  # anything can be in it
            handle(wire.deserialize(wire.feed_identities(frames)[1]))


class Kernel:
    """The connection to one kernel. `connect` once, then `run` one piece of code at a time."""

    def __init__(self, context: zmq.asyncio.Context, sockets: str, key: str) -> None:
        self._wire = Wire(key=key.encode(), signature_scheme="hmac-sha256")
        self._wire.digest_history_size = 0
        self._sockets = sockets
        self._shell = context.socket(zmq.DEALER)
        self._iopub = context.socket(zmq.SUB)
        self._iopub.subscribe(b"")
        self._run: _Run | None = None
        self._heard = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []
        self._lost: KernelLost | None = None

    async def connect(self) -> None:
        """Connect and wait until output arrives too. Raises KernelLost."""
        for socket, number in ((self._shell, 1), (self._iopub, 2)):
            _connect(socket, f"{self._sockets}-{number}")
        readers = ((self._shell, self._hear_reply), (self._iopub, self._hear_output))
        self._readers = [asyncio.create_task(_read(socket, self._wire, handle)) for socket, handle in readers]
        while not self._heard.is_set():
            await self._send("kernel_info_request", {})
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
        run.message = await self._send("execute_request", request | {"allow_stdin": False, "stop_on_error": True})
        await asyncio.shield(run.done)
        return run.outcome()

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
        if self._run:
            self._run.fail(self._lost)
            self._run.done.exception()

    def close(self) -> None:
        """Give back the sockets."""
        self.lose("the session has ended")
        for reader in self._readers:
            reader.cancel()
        self._shell.close()
        self._iopub.close()

    async def _send(self, kind: str, content: dict[str, Any]) -> str:
        message = self._wire.msg(kind, content)
        await self._shell.send_multipart(self._wire.serialize(message))
        return str(message["header"]["msg_id"])

    def _hear_reply(self, message: dict[str, Any]) -> None:
        run = self._run_of(message)
        if run and message["msg_type"] == "execute_reply":
            run.reply(message["content"])

    def _hear_output(self, message: dict[str, Any]) -> None:
        self._heard.set()
        if run := self._run_of(message):
            run.publish(message["msg_type"], message["content"])

    def _run_of(self, message: dict[str, Any]) -> _Run | None:
        """The run under way, if the message belongs to it; output of earlier ones has nowhere to go any more."""
        ours = self._run is not None and message["parent_header"].get("msg_id") == self._run.message
        return self._run if ours else None
