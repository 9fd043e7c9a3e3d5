"""A session, or the whole pool, that lies: bounded in memory and time, a clear failure, and nothing else written."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import itertools
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from pipeline.engine.protocol import Job
from pipeline.errors import PoolFull, PoolUnavailable, TransientError
from pipeline.pool import client
from pipeline.pool.client import PoolClient
from pipeline.storage.ledger import Entry
from tests.hostile.liar import Call, Liar, Lie, Twist, lying, reply, said
from tests.images import picture
from tests.stack import Stack, environment, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
RECIPES = """
recipes:
  one:
    renditions: {out: {format: png}}
  many:
    renditions: {out: {format: auto, dominant_color: true}, small: {format: jpeg, path: "{stem}-{width}x{height}.jpg"}}
"""
MEMORY = 64 << 20
"""The most that a lie may make this process hold on top, in bytes; what the lies send or unpack to is far more."""
BOMB = 256 << 20
"""What the small answers below would unpack to."""
SETTINGS = {
    "PIPELINE_POOL_MAX_SESSIONS": "4",
    "PIPELINE_RETRY_MAX_ATTEMPTS": "1",
    "PIPELINE_EXECUTION_TIMEOUT": "1",
    "PIPELINE_MAX_RENDITION_BYTES": "1000000",
}
_numbers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, Liar]]:
    """Services whose session pool lies."""
    recipe_file = tmp_path_factory.mktemp("liar") / "recipes.yaml"
    recipe_file.write_text(RECIPES)
    async with lying() as liar, opened({**environment(azurite, liar.address, recipe_file), **SETTINGS}) as stack:
        yield stack, liar
        liar.lies, liar.twist = {}, None


@dataclass
class Scene:
    """One job with a pool that lies."""

    stack: Stack
    liar: Liar

    async def ended(self, recipe: str = "one", **settings: float) -> Entry:
        """How a job ends, with what holds for every lie checked on the way. `settings` are for this job alone."""
        name = f"{next(_numbers)}.png"
        await self.stack.drop(name, picture(60, 40, "PNG"))
        services = self.stack.services
        services = replace(services, settings=services.settings.model_copy(update=settings))
        before = await self.stack.outputs()
        tracemalloc.start()
        try:
            async with asyncio.timeout(60):
                await services.executor.execute(services.settings.input_container, name, services.recipes.get(recipe))
        except (TransientError, PoolFull):
            pass  # what the queue is for; anything else would be a bug, or a failure that was not recorded
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MEMORY, f"{peak >> 20} MiB"
        entry = await self.stack.entry(recipe, name)
        assert entry
        await self.nothing_else_was_written(entry, before)
        self.nothing_was_told(entry)
        return entry

    async def end(self, recipe: str = "one", **settings: float) -> tuple[str, str]:
        """State and kind of the error that a job ends with."""
        entry = await self.ended(recipe, **settings)
        return entry.state, entry.error_kind

    async def nothing_else_was_written(self, entry: Entry, before: dict[str, bytes]) -> None:
        """No blob but the declared renditions of a job that is done."""
        assert set(await self.stack.outputs()) - set(before) == {one["path"] for one in entry.renditions}
        assert bool(entry.renditions) == (entry.state == "done")
        settings = self.stack.services.settings
        for container, allowed in ((settings.upload_container, "-"), (settings.state_container, "slots/")):
            blobs = self.stack.services.account.container(container).list_blobs()
            assert all([blob.name.startswith(allowed) async for blob in blobs])

    def nothing_was_told(self, entry: Entry) -> None:
        """No identifier in what is kept, and nothing that plays tricks on a terminal."""
        told = f"{entry.error_message}{entry.report}{entry.renditions}"
        assert not [call.identifier for call in self.liar.calls if call.identifier and call.identifier in told]
        assert entry.error_message.replace("\n", "").isprintable()


@pytest_asyncio.fixture(loop_scope="module")
async def scene(stack: tuple[Stack, Liar], caplog: pytest.LogCaptureFixture) -> AsyncIterator[Scene]:
    stack_, liar = stack
    liar.lies, liar.twist, liar.calls, liar.contents = {}, None, [], picture(60, 40, "PNG")
    yield Scene(stack_, liar)
    identifiers = {call.identifier for call in liar.calls} - {""}
    for record in caplog.records:
        line = record.getMessage()
        assert line.isprintable(), "a line of its own was forged"
        assert not [each for each in identifiers if each in line]


# -- lies about HTTP --------------------------------------------------------------------------------------------------


def constant(data: bytes) -> Lie:
    async def lie(call: Call, writer: asyncio.StreamWriter) -> None:
        del call
        writer.write(data)

    return lie


def closing(data: bytes) -> Lie:
    async def lie(call: Call, writer: asyncio.StreamWriter) -> None:
        del call
        writer.write(data)
        await writer.drain()
        raise ConnectionError

    return lie


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Lie:
    async def lie(call: Call, writer: asyncio.StreamWriter) -> None:
        del call
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return lie


async def silence(call: Call, writer: asyncio.StreamWriter) -> None:
    """No answer, and an open connection."""
    del call, writer
    await asyncio.sleep(3600)


async def echo_of_the_secret(call: Call, writer: asyncio.StreamWriter) -> None:
    """The identifier in every place of a refusal that may be quoted."""
    name = call.identifier
    writer.write(reply(400, {"error": {"code": name, "message": name, "target": name}}, x_ms_error_code=name))


async def forged_lines(call: Call, writer: asyncio.StreamWriter) -> None:
    """A code that would forge a line in a log."""
    del call
    writer.write(reply(400, {"error": {"code": "Bad\n2026-01-01 ERROR all is lost \x1b[2J", "message": ""}}))


def _bomb(packed: bytes, coding: str) -> bytes:
    return reply(200, packed, Content_Encoding=coding)


CHUNKED = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOOD = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
BREAKS: dict[str, Lie] = {
    "an early close": closing(b""),
    "a close within the head": closing(b"HTTP/1.1 200 O"),
    "a close within the body": closing(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\nab"),
    "no HTTP at all": closing(b"\x16\x03\x01\x00\xff" * 100),
    "an endless head": endless(b"HTTP/1.1 200 X\r\n", b"X-Flood: " + b"y" * 8000 + b"\r\n"),
    "an endless header": endless(b"HTTP/1.1 200 X\r\nX-Flood: ", b"y" * 65_536),
    "a negative length": closing(b"HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\n"),
    "two lengths": closing(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello"),
}
"""No answer that HTTP knows: the pool is asked again, and a run that may have happened is not trusted."""

REPLIES: dict[str, Lie] = {
    "a switch of protocols": closing(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n" + b"\0" * 1000),
    "an endless body": endless(CHUNKED, FLOOD),
    "an endless body of a size": endless(b"HTTP/1.1 200 X\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65_536),
    "a gzip bomb": constant(_bomb(gzip.compress(bytes(BOMB), 9), "gzip")),
    "a gzip bomb in a gzip": constant(_bomb(gzip.compress(gzip.compress(bytes(BOMB), 9), 9), "gzip, gzip")),
    "a deflate bomb": constant(_bomb(zlib.compress(bytes(BOMB), 9), "deflate")),
    "a coding that nobody knows": constant(_bomb(b"x" * 100, "zstd, br, made-up")),
    "a redirect elsewhere": constant(reply(302, b"", Location="http://192.0.2.1/steal")),
    "a redirect to a file": constant(reply(307, b"", Location="file:///etc/passwd")),
    "not modified": constant(b"HTTP/1.1 304 X\r\n\r\n"),
    "its own secret": echo_of_the_secret,
    "a forged line": forged_lines,
}
"""An answer that nobody asked for: once is enough."""

WAITS: dict[str, tuple[Lie, str]] = {
    "a status beyond all": (closing(b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), "pool_unavailable"),
    "a refusal in gzip": (
        constant(b"HTTP/1.1 503 X\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
        "pool_unavailable",
    ),
    "a wait without end": (constant(reply(503, b"", Retry_After="9" * 400)), "pool_unavailable"),
    "a wait in odd digits": (
        constant(b"HTTP/1.1 503 X\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n"),
        "pool_unavailable",
    ),
    "a full pool": (constant(reply(429, {})), "pool_full"),
}
"""Another time, says the pool: that is as long as we wait, and no longer."""

SUCCESSES: dict[str, Lie] = {
    "no content": constant(b"HTTP/1.1 204 X\r\n\r\n"),
    "a part of it": constant(reply(206, b"x" * 10, Content_Range="bytes 0-9/1000")),
    "an odd status": constant(reply(299, b"x")),
    "two answers to one question": constant(reply(200, {}) + reply(200, said("pipeline-report 0 x - {}"))),
}
"""A success that is none."""

TRICKLES: dict[str, Lie] = {
    "silence": silence,
    "endless beginnings": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "endless small parts": endless(CHUNKED, b"1\r\nx\r\n", 0.05),
    "an endless length of a part": endless(CHUNKED, b"0" * 4096, 0.01),
    "a head by the byte": endless(b"HTTP/1.1 200 X\r\nX-Slow: ", b"y", 0.05),
}
"""Nothing, or so little at a time that each wait is short, and no end of it."""

VERBS = pytest.mark.parametrize("verb", ["upload", "run", "download"])


@VERBS
@pytest.mark.parametrize("lie", BREAKS)
async def test_what_is_no_http_is_a_pool_that_does_not_answer(scene: Scene, lie: str, verb: str) -> None:
    scene.liar.lies[verb] = BREAKS[lie]
    wanted = ("failed", "session_lost") if verb == "run" else ("queued", "pool_unavailable")
    assert await scene.end() == wanted


@VERBS
@pytest.mark.parametrize("lie", REPLIES)
async def test_an_answer_that_nobody_asked_for_fails_the_job_at_once(scene: Scene, lie: str, verb: str) -> None:
    scene.liar.lies[verb] = REPLIES[lie]
    assert await scene.end() == ("failed", "bad_session_reply")
    # The engine comes in beside the first source.
    assert scene.liar.count(verb) <= (2 if verb == "upload" else 1)


@VERBS
@pytest.mark.parametrize("lie", WAITS)
async def test_a_pool_that_puts_us_off_has_the_job_back_in_the_queue(scene: Scene, lie: str, verb: str) -> None:
    scene.liar.lies[verb], kind = WAITS[lie]
    assert await scene.end() == ("queued", kind)


@pytest.mark.parametrize("verb", ["run", "download"])
@pytest.mark.parametrize("lie", SUCCESSES)
async def test_a_success_that_holds_nothing_is_none(scene: Scene, lie: str, verb: str) -> None:
    scene.liar.lies[verb] = SUCCESSES[lie]
    assert await scene.end() == ("failed", "execution_interrupted" if verb == "run" else "bad_session_reply")


@VERBS
@pytest.mark.parametrize("lie", TRICKLES)
async def test_an_answer_that_never_comes_to_an_end_is_left(scene: Scene, lie: str, verb: str) -> None:
    scene.liar.lies[verb] = TRICKLES[lie]
    assert await scene.end(job_timeout=1) == ("failed", "job_timeout")


@pytest.mark.parametrize("lie", TRICKLES)
async def test_looking_after_a_session_comes_to_an_end_too(scene: Scene, lie: str) -> None:
    """No job and its limit are there then."""
    scene.liar.lies = {"end": TRICKLES[lie], "remove": TRICKLES[lie]}
    pool = PoolClient(scene.stack.services.settings.model_copy(update={"transfer_timeout": 0.5}), None)
    for call in (pool.end("some-identifier"), pool.delete("some-identifier", "in-1.bin")):
        async with asyncio.timeout(30):
            with pytest.raises(PoolUnavailable):
                await call
    await pool.close()


# -- lies in what a run says ------------------------------------------------------------------------------------------


def running(**operation: Any) -> Lie:
    """The run goes on, it says, and can be followed there."""
    return constant(reply(202, {"status": "Running", **operation}))


FOLLOWED: dict[str, tuple[Lie, str]] = {
    "for ever": (running(id="op-1"), "execution_timeout"),
    "nowhere": (running(), "bad_session_reply"),
    "to a number": (running(id=7), "bad_session_reply"),
    "up the tree": (running(id="../../session"), "bad_session_reply"),
    "to another query": (running(id="op?identifier=other"), "bad_session_reply"),
    "half a character": (constant(reply(202, b'{"status":"Running","id":"\\ud800"}')), "bad_session_reply"),
    "a long way": (running(id="x" * 500_000), "bad_session_reply"),
}


@pytest.mark.parametrize("where", FOLLOWED)
async def test_a_run_is_followed_within_limits_and_to_nowhere_else(
    scene: Scene, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie, kind = FOLLOWED[where]
    if where == "for ever":
        monkeypatch.setattr(client, "GRACE", 0.5)
    scene.liar.lies = {"run": lie, "follow": running(id="op-1")}
    assert await scene.end() == ("failed", kind)
    assert {call.target.split("?")[0] for call in scene.liar.calls if call.verb == "follow"} <= {"/executions/op-1"}


BODIES: dict[str, bytes] = {
    "not JSON": b"{",
    "a list": b"[]",
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"a":' * 150_000,
    "a long number": b'{"status":' + b"9" * 900_000 + b"}",
    "a wide number": b'{"status":"Succeeded","result":{"stdout":1e999999}}',
    "the same key twice": b'{"status":"Succeeded","status":"Failed","result":{"stdout":"a"},"result":7}',
    "another encoding": '{"status":"Succeeded"}'.encode("utf-16"),
    "half a character": b'{"status":"Succeeded","result":{"stdout":"\\ud800"}}',
    "a list of lists": b'{"status":"Failed","result":{"stdout":[' + b"[]," * 60_000 + b"[]]}}",
    "odd types": b'{"status":["Succeeded"],"result":{"stdout":{"a":1},"stderr":[null]}}',
}


@pytest.mark.parametrize("body", BODIES)
async def test_garbage_for_an_answer_is_no_report(scene: Scene, body: str) -> None:
    scene.liar.lies["run"] = constant(reply(200, BODIES[body]))
    state, kind = await scene.end()
    assert state == "failed"
    assert kind in ("execution_interrupted", "bad_session_reply")


LINES: dict[str, str] = {
    "nothing": "",
    "a cut line": "pipeline-report 10",
    "no number": "pipeline-report ten aa - {}",
    "a long number": f"pipeline-report {'9' * 5000} aa - {{}}",
    "another length": "pipeline-report 3 " + hashlib.sha256(b"[]").hexdigest() + " - []",
    "another checksum": "pipeline-report 2 " + "0" * 64 + " - []",
    "no reports": "pipeline-report 2 " + hashlib.sha256(b"[]").hexdigest() + " - []",
    "many lines": "pipeline-report 1 a - b\n" * 20_000,
    "half a character": "pipeline-report 1 \ud800 - \udfff",
}


@pytest.mark.parametrize("line", LINES)
async def test_a_line_that_is_no_report_is_not_believed(scene: Scene, line: str) -> None:
    scene.liar.lies["run"] = constant(reply(200, said(LINES[line])))
    assert await scene.end() == ("failed", "bad_session_reply")


async def test_what_a_run_complains_of_is_quoted_without_the_sessions_name(scene: Scene) -> None:
    async def complain(call: Call, writer: asyncio.StreamWriter) -> None:
        text = f"no pod for {call.identifier}\n\x1b[31mred"
        writer.write(reply(200, {"status": "Failed", "result": {"stderr": text}}))

    scene.liar.lies["run"] = complain
    entry = await scene.ended()
    assert entry.error_kind == "execution_interrupted"
    assert "no pod for …" in entry.error_message


async def test_a_report_in_a_file_is_read_as_far_as_it_is_allowed(scene: Scene) -> None:
    """Whatever file the line names, the one that was agreed upon is fetched."""
    digest = hashlib.sha256(b"x").hexdigest()
    scene.liar.lies["run"] = constant(reply(200, said(f"pipeline-report 1 {digest} ../../etc/passwd ")))
    scene.liar.lies["download"] = endless(CHUNKED, FLOOD)
    assert await scene.end() == ("failed", "bad_session_reply")
    paths = [call.target.split("?")[0] for call in scene.liar.calls if call.verb == "download"]
    assert all(path.startswith("/files/report-") for path in paths)


# -- lies in a report -------------------------------------------------------------------------------------------------


def rendition(**changes: Any) -> Twist:
    """The first rendition is not what it was."""

    def twist(report: dict[str, Any], job: Job) -> Any:
        del job
        report["renditions"][0] |= changes
        return report

    return twist


def report(**changes: Any) -> Twist:
    return lambda report, job: {**report, **changes}


def more(**changes: Any) -> Twist:
    """One rendition more than was asked for."""

    def twist(report: dict[str, Any], job: Job) -> Any:
        del job
        report["renditions"].append({**report["renditions"][0], **changes})
        return report

    return twist


def raw(make: Callable[[bytes], bytes]) -> Twist:
    """The text of the report as somebody else would write it."""
    return lambda report, job: b"[" + make(json.dumps(report).encode()) + b"]"


WIDE = "\u4e2d" * 100
LONG = {f"{'x' * 98}{number}": "y" * 100 for number in range(10, 60)}
TWISTS: dict[str, Twist] = {
    "another name": rendition(name="other"),
    "a name up the tree": rendition(name="../../input/a.png"),
    "another file": rendition(file="in.bin"),
    "a file up the tree": rendition(file="../../../etc/passwd"),
    "a file with an address": rendition(file="x/content?identifier=another"),
    "an absolute file": rendition(file="/etc/passwd"),
    "a name that is half a character": rendition(name="\ud800"),
    "a rendition more": more(name="extra", file="extra"),
    "a rendition twice": more(),
    "no rendition": report(renditions=[]),
    "a hundred and one": report(renditions=[{}] * 101),
    "no report at all": lambda report, job: b"null",
    "another version": report(version=99),
    "a version beyond all": report(version=10**4000),
    "another checksum": rendition(sha256="0" * 64),
    "no checksum": rendition(sha256="zz"),
    "more bytes than come": rendition(size=100_000),
    "fewer bytes than come": rendition(size=20),
    "no bytes": rendition(size=0),
    "fewer than no bytes": rendition(size=-1),
    "too many bytes": rendition(size=2_000_000),
    "bytes beyond all": rendition(size=10**300),
    "half a byte": rendition(size=1.5),
    "a size in words": rendition(size="12"),
    "too many pixels": rendition(width=100_000, height=100_000),
    "pixels beyond all": rendition(width=10**30),
    "no pixels": rendition(width=0),
    "not a number": rendition(ms=float("nan")),
    "an infinite time": report(ms={"total": float("inf")}),
    "a format that was not asked for": rendition(format="svg"),
    "a format that it is not": rendition(format="webp"),
    "a format in capitals": rendition(format="PNG"),
    "metadata of another's": rendition(extra={"pipeline_job": "mine", "pipeline_generation": "999"}),
    "metadata that splits headers": rendition(extra={"thumbhash": "a\r\nx-ms-meta-evil: 1"}),
    "metadata that is too long": rendition(extra={"thumbhash": "a" * 501}),
    "versions in wide characters": report(versions={f"{WIDE[:-2]}{n}": WIDE for n in range(50)}),
    "times in wide characters": report(ms={f"{WIDE[:-2]}{n}": 1.0 for n in range(50)}),
    "a source that plays tricks": report(
        source={"format": "\x1b[2J", "mode": "a\nb", "width": 1, "height": 1, "frames": 1}
    ),
    "a failure besides": report(failure={"kind": "UPPER CASE", "message": ""}),
    "a long reason": report(failure={"kind": "damaged_image", "message": "x" * 5000}),
    "deep lists": lambda report, job: b"[" * 200_000,
    "an object and no list": lambda report, job: json.dumps(report).encode(),
    "two where there was one job": lambda report, job: json.dumps([report, report]).encode(),
    "deep within": raw(lambda body: body[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a long number": raw(lambda body: body[:-1] + b',"more":' + b"9" * 10_000 + b"}"),
}


@pytest.mark.parametrize("twist", TWISTS)
async def test_a_report_is_believed_only_as_far_as_it_was_declared(scene: Scene, twist: str) -> None:
    scene.liar.twist = TWISTS[twist]
    assert await scene.end() == ("failed", "bad_session_reply")
    assert scene.liar.count("run") == 1, "it was tried again"


HARMLESS: dict[str, Twist] = {
    "the truth": report(),
    "fields that nobody reads": report(more={"a": [1, 2, 3]}),
    "the same key twice": raw(lambda body: b'{"version":99,' + body[1:]),
    "versions without end": report(versions=LONG),
    "times without end": report(ms=dict.fromkeys(LONG, 1e300)),
}


@pytest.mark.parametrize("twist", HARMLESS)
async def test_what_does_no_harm_passes(scene: Scene, twist: str) -> None:
    scene.liar.twist = HARMLESS[twist]
    assert await scene.end() == ("done", "")


async def test_a_reason_that_is_made_up_cannot_play_tricks(scene: Scene) -> None:
    scene.liar.twist = report(failure={"kind": "damaged_image", "message": "\x1b[2J\x07gone\r\nERROR all is lost"})
    entry = await scene.ended()
    assert (entry.state, entry.error_kind) == ("failed", "damaged_image")
    assert entry.error_message == "\\x1b[2J\\x07gone\\r\nERROR all is lost"


async def test_a_report_that_names_the_session_is_not_kept(scene: Scene) -> None:
    def tell(report: dict[str, Any], job: Job) -> Any:
        del job
        return {**report, "failure": {"kind": "damaged_image", "message": scene.liar.calls[-1].identifier}}

    scene.liar.twist = tell
    assert await scene.end() == ("failed", "bad_session_reply")


@pytest.mark.parametrize(
    "contents", [b"", b"<script>alert(1)</script>", b"%!PS", b"GIF89a", b"MZ" * 100, b"<svg onload=alert(1)>"]
)
async def test_contents_of_another_kind_are_never_committed(scene: Scene, contents: bytes) -> None:
    scene.liar.contents = contents
    assert await scene.end() == ("failed", "bad_session_reply")


async def test_a_report_in_another_encoding_is_none(scene: Scene) -> None:
    body = json.dumps({"version": 1}).encode("utf-32")
    line = f"pipeline-report {len(body)} {hashlib.sha256(body).hexdigest()} x "
    scene.liar.lies = {"run": constant(reply(200, said(line))), "download": constant(reply(200, body))}
    assert await scene.end() == ("failed", "bad_session_reply")


async def test_one_lie_in_one_rendition_commits_none_of_them(scene: Scene) -> None:
    scene.liar.twist = rendition(sha256="0" * 64)
    assert await scene.end("many") == ("failed", "bad_session_reply")
