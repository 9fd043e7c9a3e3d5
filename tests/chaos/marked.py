"""Run a session pool that records its executions: `python -m tests.chaos.marked FILE session-pool …`.

Every uploaded source carries a unique mark (see `pictures.marked`). FILE gets a line of JSON for each uploaded source,
for each source at the start of an execution, and for the result of that execution. The real number of executions of
each source can then be counted. Lines are written at once, so that `kill -9` loses none. FILE also lists the
identifiers of all sessions, to search for them where they must not be.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import parse_qs

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devstack.__main__ import build_cli
from session_pool_emulator import server
from tests.chaos.pictures import MARK

FILE = re.compile(rb'filename="(in-[0-9a-f]+\.bin)"')
JOBS = re.compile(r'\.main\("([A-Za-z0-9+/=]+)"')
REPORT = re.compile(r"^pipeline-report \d+ \w+ \S+ \w+ (\[.*\])\s*$", re.MULTILINE)


class Marking:
    """ASGI middleware between the pool's faults and its routes: calls that reach it are really executed."""

    def __init__(self, app: ASGIApp, file: TextIO) -> None:
        self._app, self._file = app, file
        self._marks: dict[str, str] = {}
        self._identifiers: set[str] = set()
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI request."""
        path = scope.get("path", "")
        self._note_session(scope)
        if scope["type"] != "http" or scope["method"] != "POST" or not path.endswith(("/files", "/executions")):
            await self._app(scope, receive, send)
            return
        body, answer = bytearray(), bytearray()
        number, marks = next(self._numbers), list[str]()

        async def received() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body"):
                self._uploaded(bytes(body)) if path.endswith("/files") else marks.extend(self._runs(body, number))
            return message

        async def sent(message: Message) -> None:
            answer.extend(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            if marks:
                self._write("ran", number, marks, said(bytes(answer), len(marks)))

    def _note_session(self, scope: Scope) -> None:
        for identifier in parse_qs(scope.get("query_string", b"").decode()).get("identifier", []):
            if identifier not in self._identifiers:
                self._identifiers.add(identifier)
                self._file.write(json.dumps({"event": "session", "identifier": identifier}) + "\n")

    def _uploaded(self, body: bytes) -> None:
        file, mark = FILE.search(body), MARK.search(body)
        if file and mark:
            self._marks[file[1].decode()] = mark[1].decode()

    def _runs(self, body: bytearray, number: int) -> list[str]:
        code = str(json.loads(body).get("code"))
        found = JOBS.search(code)
        jobs = json.loads(base64.b64decode(found[1])) if found else []
        marks = [self._marks.get(job["source"], "") for job in jobs]
        if marks:
            self._write("began", number, marks, [""] * len(marks))
        return marks

    def _write(self, event: str, number: int, marks: list[str], said: list[str]) -> None:
        line: dict[str, Any] = {"time": time.time(), "event": event, "run": f"{os.getpid()}-{number}"}
        self._file.write(json.dumps(line | {"marks": marks, "said": said}) + "\n")


def said(answer: bytes, count: int) -> list[str]:
    """Return the result of each source of an execution: `made`, the kind of its failure, or an empty text."""
    try:
        stdout = json.loads(answer)["result"]["stdout"]
        reports = json.loads(REPORT.findall(stdout)[-1])
    except (ValueError, LookupError, TypeError):
        return [""] * count
    return [report["failure"]["kind"] if report["failure"] else "made" for report in reports]


def main(file: Path, argv: list[str]) -> None:
    """Run the pool."""
    plain = server.app.build_app
    log = file.open("a", buffering=1)

    def marking(pool: Any) -> Any:
        app = plain(pool)
        app.user_middleware.append(Middleware(Marking, file=log))
        return app

    server.app.build_app = marking
    sys.argv = ["devstack", *argv]
    build_cli(argv[0])(prog_name="devstack")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
