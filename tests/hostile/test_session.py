"""Lies of a session or of the pool: bounded memory and time, a clear failure, and no other write."""

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

from pipeline import recipes
from pipeline.engine.protocol import Job, line_tag
from pipeline.errors import PoolFull, PoolUnavailable, TransientError
from pipeline.pool import client
from pipeline.pool.client import PoolClient
from pipeline.services import Services
from pipeline.storage import create_all
from pipeline.storage.ledger import Entry
from pipeline.testing import MemoryAccount, memory_settings
from tests.hostile.lying_pool import Call, Lie, LyingPool, Twist, lying_pool, printed, reply
from tests.images import image_bytes
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
RECIPES = """
recipes:
  one:
    renditions: {out: {format: png}}
  many:
    renditions: {out: {format: auto, dominant_color: true}, small: {format: jpeg, path: "{stem}-{width}x{height}.jpg"}}
"""
MAX_MEMORY_BYTES = 64 << 20
"""Additional memory that a lie may cost this process. The lies send or decompress to far more."""
BOMB_BYTES = 256 << 20
"""Decompressed size of the small responses below."""
SETTINGS = {
    "pool_max_sessions": 4,
    "retry_timeout": 2,
    "execution_timeout": 1,
    "max_rendition_bytes": 1_000_000,
}
_numbers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[tuple[Stack, LyingPool]]:
    """Services on in-memory storage with a lying session pool, called over HTTP, and that pool."""
    async with lying_pool() as pool:
        settings, account = memory_settings(pool_endpoint=pool.url, **SETTINGS), MemoryAccount()
        client = PoolClient(settings, None)
        services = Services.compose(settings, recipes.loads(RECIPES), account, client, None)
        await create_all(services.account, settings)
        yield Stack(services, {}), pool
        pool.lies, pool.twist = {}, None
        await services.scheduler.close()
        await services.close()


@dataclass
class Scene:
    """One job with a lying pool."""

    stack: Stack
    pool: LyingPool

    async def process(self, recipe: str = "one", **settings: float) -> Entry:
        """Process a job with its own settings, check the rules that hold for every lie, and return its row."""
        name = f"{next(_numbers)}.png"
        await self.stack.upload(name, image_bytes(60, 40, "PNG"))
        services = self.stack.services
        services = replace(services, settings=services.settings.model_copy(update=settings))
        before = await self.stack.outputs()
        tracemalloc.start()
        try:
            async with asyncio.timeout(60):
                await services.executor.execute(services.settings.input_container, name, services.recipes.get(recipe))
        except (TransientError, PoolFull):
            pass  # the queue repeats the job; any other error would be a bug or an unrecorded failure
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MAX_MEMORY_BYTES, f"{peak >> 20} MiB"
        entry = await self.stack.entry(recipe, name)
        assert entry
        await self.check_writes(entry, before)
        self.check_record(entry)
        return entry

    async def result(self, recipe: str = "one", **settings: float) -> tuple[str, str]:
        """Process a job and return its state and the kind of its error."""
        entry = await self.process(recipe, **settings)
        return entry.state, entry.error_kind

    async def check_writes(self, entry: Entry, before: dict[str, bytes]) -> None:
        """Check that only declared renditions of a completed job were written."""
        assert set(await self.stack.outputs()) - set(before) == {one["path"] for one in entry.renditions}
        assert bool(entry.renditions) == (entry.state == "done")
        settings = self.stack.services.settings
        for container, allowed in ((settings.upload_container, "-"), (settings.state_container, "slots/")):
            blobs = self.stack.services.account.container(container).list_blobs()
            assert all([blob.name.startswith(allowed) async for blob in blobs])

    def check_record(self, entry: Entry) -> None:
        """Check that the row holds no identifier and no control characters for a terminal."""
        text = f"{entry.error_message}{entry.report}{entry.renditions}"
        assert not [call.identifier for call in self.pool.calls if call.identifier and call.identifier in text]
        assert entry.error_message.replace("\n", "").isprintable()


@pytest_asyncio.fixture(loop_scope="module")
async def scene(stack: tuple[Stack, LyingPool], caplog: pytest.LogCaptureFixture) -> AsyncIterator[Scene]:
    """Job with a lying pool. Afterwards, check the log for identifiers and forged lines."""
    services, pool = stack
    pool.lies, pool.twist, pool.calls, pool.contents = {}, None, [], image_bytes(60, 40, "PNG")
    yield Scene(services, pool)
    identifiers = {call.identifier for call in pool.calls} - {""}
    for record in caplog.records:
        line = record.getMessage()
        assert line.isprintable(), "a forged log line"
        assert not [each for each in identifiers if each in line]


# -- lies in HTTP --------------------------------------------------------------------------------------------------


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
    """Send no response and keep the connection open."""
    del call, writer
    await asyncio.sleep(3600)


async def echo_identifier(call: Call, writer: asyncio.StreamWriter) -> None:
    """Send the identifier in every part of an error response that may be quoted."""
    name = call.identifier
    writer.write(reply(400, {"error": {"code": name, "message": name, "target": name}}, x_ms_error_code=name))


async def forged_lines(call: Call, writer: asyncio.StreamWriter) -> None:
    """Send an error code that would forge a log line."""
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
    "no HTTP": closing(b"\x16\x03\x01\x00\xff" * 100),
    "an endless head": endless(b"HTTP/1.1 200 X\r\n", b"X-Flood: " + b"y" * 8000 + b"\r\n"),
    "an endless header": endless(b"HTTP/1.1 200 X\r\nX-Flood: ", b"y" * 65_536),
    "a negative length": closing(b"HTTP/1.1 200 X\r\nContent-Length: -5\r\n\r\n"),
    "two lengths": closing(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello"),
}
"""Invalid HTTP: the call is repeated, except an execution, which may have happened."""

REPLIES: dict[str, Lie] = {
    "an endless body": endless(CHUNKED, FLOOD),
    "an endless body of a size": endless(b"HTTP/1.1 200 X\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65_536),
    "a gzip bomb": constant(_bomb(gzip.compress(bytes(BOMB_BYTES), 9), "gzip")),
    "a gzip bomb in a gzip": constant(_bomb(gzip.compress(gzip.compress(bytes(BOMB_BYTES), 9), 9), "gzip, gzip")),
    "a deflate bomb": constant(_bomb(zlib.compress(bytes(BOMB_BYTES), 9), "deflate")),
    "an unknown coding": constant(_bomb(b"x" * 100, "zstd, br, made-up")),
}
"""Unusable response: the call is not repeated."""

REFUSALS: dict[str, Lie] = {
    "a switch of protocols": closing(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n" + b"\0" * 1000),
    "a redirect to another host": constant(reply(302, b"", Location="http://192.0.2.1/steal")),
    "a redirect to a file": constant(reply(307, b"", Location="file:///etc/passwd")),
    "not modified": constant(b"HTTP/1.1 304 X\r\n\r\n"),
    "the identifier": echo_identifier,
    "a forged line": forged_lines,
}
"""Undocumented answer, perhaps of a proxy: the job is queued, which uses up an attempt."""

WAITS: dict[str, tuple[Lie, str]] = {
    "an unknown status": (closing(b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), "pool_unavailable"),
    "a compressed error": (
        constant(b"HTTP/1.1 503 X\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
        "pool_unavailable",
    ),
    "an endless Retry-After": (constant(reply(503, b"", Retry_After="9" * 400)), "pool_unavailable"),
    "a Retry-After in odd digits": (
        constant(b"HTTP/1.1 503 X\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n"),
        "pool_unavailable",
    ),
    "a full pool": (constant(reply(429, {})), "pool_full"),
}
"""The pool postpones the call: the job is queued."""

SUCCESSES: dict[str, Lie] = {
    "no content": constant(b"HTTP/1.1 204 X\r\n\r\n"),
    "partial content": constant(reply(206, b"x" * 10, Content_Range="bytes 0-9/1000")),
    "an odd status": constant(reply(299, b"x")),
    "two responses to one request": constant(reply(200, {}) + reply(200, printed("pipeline-report 0 x - {}"))),
}
"""Success without a usable body."""

TRICKLES: dict[str, Lie] = {
    "silence": silence,
    "endless beginnings": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "endless small chunks": endless(CHUNKED, b"1\r\nx\r\n", 0.05),
    "an endless chunk size": endless(CHUNKED, b"0" * 4096, 0.01),
    "a head byte by byte": endless(b"HTTP/1.1 200 X\r\nX-Slow: ", b"y", 0.05),
}
"""No end: nothing at all, or a little at a time."""

VERBS = pytest.mark.parametrize("verb", ["upload", "execute", "download"])


@VERBS
@pytest.mark.parametrize("lie", BREAKS)
async def test_invalid_http_is_an_unavailable_pool(scene: Scene, lie: str, verb: str) -> None:
    scene.pool.lies[verb] = BREAKS[lie]
    expected = ("failed", "session_lost") if verb == "execute" else ("queued", "pool_unavailable")
    assert await scene.result() == expected


@VERBS
@pytest.mark.parametrize("lie", REPLIES)
async def test_an_unusable_response_fails_the_job_at_once(scene: Scene, lie: str, verb: str) -> None:
    scene.pool.lies[verb] = REPLIES[lie]
    assert await scene.result() == ("failed", "bad_session_reply")
    # The engine is uploaded with the first source.
    assert scene.pool.count(verb) <= (2 if verb == "upload" else 1)


@VERBS
@pytest.mark.parametrize("lie", REFUSALS)
async def test_an_undocumented_answer_uses_up_an_attempt(scene: Scene, lie: str, verb: str) -> None:
    scene.pool.lies[verb] = REFUSALS[lie]
    assert await scene.result() == ("queued", "pool_refused")


@VERBS
@pytest.mark.parametrize("lie", WAITS)
async def test_a_pool_that_postpones_calls_has_the_job_queued(scene: Scene, lie: str, verb: str) -> None:
    scene.pool.lies[verb], kind = WAITS[lie]
    assert await scene.result() == ("queued", kind)


@pytest.mark.parametrize("verb", ["execute", "download"])
@pytest.mark.parametrize("lie", SUCCESSES)
async def test_a_success_without_content_is_no_success(scene: Scene, lie: str, verb: str) -> None:
    scene.pool.lies[verb] = SUCCESSES[lie]
    assert await scene.result() == ("failed", "execution_interrupted" if verb == "execute" else "bad_session_reply")


@VERBS
@pytest.mark.parametrize("lie", TRICKLES)
async def test_a_response_without_end_times_out(scene: Scene, lie: str, verb: str) -> None:
    scene.pool.lies[verb] = TRICKLES[lie]
    assert await scene.result(job_timeout=0.3) == ("failed", "job_timeout")


@pytest.mark.parametrize("lie", TRICKLES)
async def test_calls_outside_of_jobs_time_out_too(scene: Scene, lie: str) -> None:
    """No job's time limit applies to them."""
    scene.pool.lies = {"end": TRICKLES[lie], "delete": TRICKLES[lie]}
    pool = PoolClient(scene.stack.services.settings.model_copy(update={"transfer_timeout": 0.2}), None)
    for call in (pool.end("some-identifier"), pool.delete("some-identifier", "in-1.bin")):
        async with asyncio.timeout(30):
            with pytest.raises(PoolUnavailable):
                await call
    await pool.close()


# -- lies in the result of an execution ----------------------------------------------------------------------


def running(**fields: Any) -> Lie:
    """Respond that the execution is running, with fields such as its id."""
    return constant(reply(202, {"status": "Running", **fields}))


RUNNING: dict[str, tuple[Lie, str]] = {
    "endless": (running(id="op-1"), "execution_timeout"),
    "no id": (running(), "bad_session_reply"),
    "a number": (running(id=7), "bad_session_reply"),
    "a parent folder": (running(id="../../session"), "bad_session_reply"),
    "another query": (running(id="op?identifier=other"), "bad_session_reply"),
    "half a character": (constant(reply(202, b'{"status":"Running","id":"\\ud800"}')), "bad_session_reply"),
    "a long id": (running(id="x" * 500_000), "bad_session_reply"),
}


@pytest.mark.parametrize("case", RUNNING)
async def test_a_running_execution_is_polled_within_limits(
    scene: Scene, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie, kind = RUNNING[case]
    if case == "endless":
        monkeypatch.setattr(client, "RESPONSE_GRACE_SECONDS", 0.5)
    scene.pool.lies = {"execute": lie, "follow": running(id="op-1")}
    assert await scene.result() == ("failed", kind)
    assert {call.target.split("?")[0] for call in scene.pool.calls if call.verb == "follow"} <= {"/executions/op-1"}


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
async def test_garbage_in_a_response_is_no_report(scene: Scene, body: str) -> None:
    scene.pool.lies["execute"] = constant(reply(200, BODIES[body]))
    state, kind = await scene.result()
    assert state == "failed"
    assert kind in ("execution_interrupted", "bad_session_reply")


# TAG stands for the tag that the key of the execution makes.
LINES: dict[str, str] = {
    "nothing": "",
    "a cut line": "pipeline-report 10",
    "no tag": "pipeline-report 2 " + hashlib.sha256(b"[]").hexdigest() + " - []",
    "another tag": "pipeline-report 2 " + hashlib.sha256(b"[]").hexdigest() + f" - {'0' * 32} []",
    "no number": "pipeline-report ten aa - TAG {}",
    "a long number": f"pipeline-report {'9' * 5000} aa - TAG {{}}",
    "another length": "pipeline-report 3 " + hashlib.sha256(b"[]").hexdigest() + " - TAG []",
    "another checksum": "pipeline-report 2 " + "0" * 64 + " - TAG []",
    "no reports": "pipeline-report 2 " + hashlib.sha256(b"[]").hexdigest() + " - TAG []",
    "many lines": "pipeline-report 1 a - b\n" * 20_000,
    "half a character": "pipeline-report 1 \ud800 - TAG \udfff",
    "half a character in the tag": "pipeline-report 1 aa - \ud800 {}",
}


def tagged(line: str) -> Lie:
    """Print a line with the right tag, as an intruder can who has read the key."""

    async def lie(call: Call, writer: asyncio.StreamWriter) -> None:
        head = line.removeprefix("pipeline-report ").partition(" TAG ")[0]
        writer.write(reply(200, printed(line.replace("TAG", line_tag(head, call.key)))))

    return lie


@pytest.mark.parametrize("line", LINES)
async def test_an_invalid_report_line_is_rejected(scene: Scene, line: str) -> None:
    scene.pool.lies["execute"] = tagged(LINES[line])
    assert await scene.result() == ("failed", "bad_session_reply")


async def test_stderr_is_quoted_without_the_identifier(scene: Scene) -> None:
    async def fail(call: Call, writer: asyncio.StreamWriter) -> None:
        text = f"no pod for {call.identifier}\n\x1b[31mred"
        writer.write(reply(200, {"status": "Failed", "result": {"stderr": text}}))

    scene.pool.lies["execute"] = fail
    entry = await scene.process()
    assert entry.error_kind == "execution_interrupted"
    assert "no pod for …" in entry.error_message


async def test_a_report_file_is_read_up_to_its_limit(scene: Scene) -> None:
    """The file name in the report line is ignored: only the agreed file is downloaded."""
    digest = hashlib.sha256(b"x").hexdigest()
    scene.pool.lies["execute"] = tagged(f"pipeline-report 1 {digest} ../../etc/passwd TAG ")
    scene.pool.lies["download"] = endless(CHUNKED, FLOOD)
    assert await scene.result() == ("failed", "bad_session_reply")
    paths = [call.target.split("?")[0] for call in scene.pool.calls if call.verb == "download"]
    assert all(path.startswith("/files/report-") for path in paths)


# -- lies in a report ------------------------------------------------------------------------------------------------


def rendition(**changes: Any) -> Twist:
    """Change fields of the first rendition."""

    def twist(report: dict[str, Any], job: Job) -> Any:
        del job
        report["renditions"][0] |= changes
        return report

    return twist


def report(**changes: Any) -> Twist:
    """Change fields of the report."""
    return lambda report, job: {**report, **changes}


def more(**changes: Any) -> Twist:
    """Add a rendition that was not requested."""

    def twist(report: dict[str, Any], job: Job) -> Any:
        del job
        report["renditions"].append({**report["renditions"][0], **changes})
        return report

    return twist


def raw(make: Callable[[bytes], bytes]) -> Twist:
    """Change the text of the report."""
    return lambda report, job: b"[" + make(json.dumps(report).encode()) + b"]"


WIDE = "\u4e2d" * 100
LONG = {f"{'x' * 98}{number}": "y" * 100 for number in range(10, 60)}
TWISTS: dict[str, Twist] = {
    "another name": rendition(name="other"),
    "a name in a parent folder": rendition(name="../../input/a.png"),
    "another file": rendition(file="in.bin"),
    "a file in a parent folder": rendition(file="../../../etc/passwd"),
    "a file with a query": rendition(file="x/content?identifier=another"),
    "an absolute file": rendition(file="/etc/passwd"),
    "a name that is half a character": rendition(name="\ud800"),
    "an extra rendition": more(name="extra", file="extra"),
    "a rendition twice": more(),
    "no rendition": report(renditions=[]),
    "101 renditions": report(renditions=[{}] * 101),
    "no report at all": lambda report, job: b"null",
    "another version": report(version=99),
    "a huge version": report(version=10**4000),
    "another checksum": rendition(sha256="0" * 64),
    "no checksum": rendition(sha256="zz"),
    "more bytes than sent": rendition(size=100_000),
    "fewer bytes than sent": rendition(size=20),
    "no bytes": rendition(size=0),
    "a negative size": rendition(size=-1),
    "too many bytes": rendition(size=2_000_000),
    "a huge size": rendition(size=10**300),
    "half a byte": rendition(size=1.5),
    "a size in words": rendition(size="12"),
    "too many pixels": rendition(width=100_000, height=100_000),
    "huge sides": rendition(width=10**30),
    "no pixels": rendition(width=0),
    "not a number": rendition(ms=float("nan")),
    "an infinite time": report(ms={"total": float("inf")}),
    "a format that was not requested": rendition(format="svg"),
    "a wrong format": rendition(format="webp"),
    "a format in capitals": rendition(format="PNG"),
    "metadata of another job": rendition(extra={"pipeline_job": "mine", "pipeline_generation": "999"}),
    "metadata that splits headers": rendition(extra={"thumbhash": "a\r\nx-ms-meta-evil: 1"}),
    "metadata that is too long": rendition(extra={"thumbhash": "a" * 501}),
    "dropped information of an unknown name": rendition(dropped=["<script>"]),
    "dropped information without an end": rendition(dropped=["c2pa"] * 100),
    "versions in wide characters": report(versions={f"{WIDE[:-2]}{n}": WIDE for n in range(50)}),
    "times in wide characters": report(ms={f"{WIDE[:-2]}{n}": 1.0 for n in range(50)}),
    "control characters": report(source={"format": "\x1b[2J", "mode": "a\nb", "width": 1, "height": 1, "frames": 1}),
    "a failure as well": report(failure={"kind": "UPPER CASE", "message": ""}),
    "a long reason": report(failure={"kind": "damaged_image", "message": "x" * 5000}),
    "deep lists": lambda report, job: b"[" * 200_000,
    "an object and no list": lambda report, job: json.dumps(report).encode(),
    "two reports for one job": lambda report, job: json.dumps([report, report]).encode(),
    "deep nesting in a field": raw(lambda body: body[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a long number": raw(lambda body: body[:-1] + b',"more":' + b"9" * 10_000 + b"}"),
}


@pytest.mark.parametrize("twist", TWISTS)
async def test_a_report_that_deviates_is_rejected(scene: Scene, twist: str) -> None:
    scene.pool.twist = TWISTS[twist]
    assert await scene.result() == ("failed", "bad_session_reply")
    assert scene.pool.count("execute") == 1, "the job was repeated"


HARMLESS: dict[str, Twist] = {
    "the truth": report(),
    "unknown fields": report(more={"a": [1, 2, 3]}),
    "the same key twice": raw(lambda body: b'{"version":99,' + body[1:]),
    "many versions": report(versions=LONG),
    "many times": report(ms=dict.fromkeys(LONG, 1e300)),
}


@pytest.mark.parametrize("twist", HARMLESS)
async def test_harmless_deviations_pass(scene: Scene, twist: str) -> None:
    scene.pool.twist = HARMLESS[twist]
    assert await scene.result() == ("done", "")


async def test_control_characters_in_a_reason_are_escaped(scene: Scene) -> None:
    scene.pool.twist = report(failure={"kind": "damaged_image", "message": "\x1b[2J\x07gone\r\nERROR all is lost"})
    entry = await scene.process()
    assert (entry.state, entry.error_kind) == ("failed", "damaged_image")
    assert entry.error_message == "\\x1b[2J\\x07gone\\r\nERROR all is lost"


async def test_a_report_with_the_identifier_is_rejected(scene: Scene) -> None:
    def add_identifier(report: dict[str, Any], job: Job) -> Any:
        del job
        return {**report, "failure": {"kind": "damaged_image", "message": scene.pool.calls[-1].identifier}}

    scene.pool.twist = add_identifier
    assert await scene.result() == ("failed", "bad_session_reply")


@pytest.mark.parametrize(
    "contents", [b"", b"<script>alert(1)</script>", b"%!PS", b"GIF89a", b"MZ" * 100, b"<svg onload=alert(1)>"]
)
async def test_contents_of_another_kind_are_never_committed(scene: Scene, contents: bytes) -> None:
    scene.pool.contents = contents
    assert await scene.result() == ("failed", "bad_session_reply")


async def test_a_report_in_another_encoding_is_rejected(scene: Scene) -> None:
    body = json.dumps({"version": 1}).encode("utf-32")
    line = f"pipeline-report {len(body)} {hashlib.sha256(body).hexdigest()} x "
    scene.pool.lies = {"execute": constant(reply(200, printed(line))), "download": constant(reply(200, body))}
    assert await scene.result() == ("failed", "bad_session_reply")


async def test_a_lie_about_one_rendition_commits_none(scene: Scene) -> None:
    scene.pool.twist = rendition(sha256="0" * 64)
    assert await scene.result("many") == ("failed", "bad_session_reply")
