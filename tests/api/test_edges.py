"""Requests at the edge of HTTP: forms, media types, encodings, lengths, repeated values, negotiation."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import azure.functions as func
import pytest

from pipeline.api import multipart, routes, submit
from pipeline.api.contracts import CONTRACTS
from pipeline.api.header_fields import HeaderField
from pipeline.api.negotiation import Accept
from pipeline.concurrency import ByteBudget
from pipeline.errors import RequestError
from pipeline.settings import MIB
from pipeline.testing.store import Response
from tests.api.client import MULTIPART, call, form_body
from tests.images import image_bytes, size
from tests.memory import Memory, open_in_memory

JOBS = "/api/jobs"


def file_part(name: str = "image", filename: str = 'filename="a.png"', data: bytes = b"...", more: str = "") -> bytes:
    """Encode the part of a file."""
    head = (
        f'--cut\r\nContent-Disposition: form-data; name="{name}"; {filename}\r\nContent-Type: image/png\r\n{more}\r\n'
    )
    return head.encode() + data + b"\r\n"


def field_part(name: str, value: str) -> bytes:
    """Encode the part of a field."""
    return f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


RECIPE, END = field_part("recipe", "tutorial"), b"--cut--\r\n"

FORMS: dict[str, tuple[bytes, str, str]] = {
    "two files in one field": (RECIPE + file_part() + file_part() + END, MULTIPART, "2 files ('a.png', 'a.png')"),
    "two files": (RECIPE + file_part() + file_part("other") + END, MULTIPART, "a request for each image"),
    "a repeated field": (RECIPE + RECIPE + file_part() + END, MULTIPART, "'recipe' 2 times"),
    "an unknown field": (RECIPE + field_part("url", "x") + file_part() + END, MULTIPART, "unknown field 'url'"),
    "an image without a file name": (RECIPE + field_part("image", "...") + END, MULTIPART, "needs a filename"),
    "no chosen file": (RECIPE + file_part(filename='filename=""', data=b"") + END, MULTIPART, "no file is chosen"),
    "no file": (RECIPE + END, MULTIPART, "has no file"),
    "an empty body": (b"", MULTIPART, "the body is empty"),
    "no parts": (END, MULTIPART, "has no file"),
    "no boundary": (RECIPE + file_part() + END, "multipart/form-data", "needs a boundary"),
    "an empty boundary": (RECIPE + file_part() + END, 'multipart/form-data; boundary=""', "needs a boundary"),
    "another boundary": (RECIPE + file_part() + END, "multipart/form-data; boundary=x", "is not in the body"),
    "two boundaries": (RECIPE + END, "multipart/form-data; boundary=a; boundary=b", "given twice"),
    "a boundary that is not ASCII": (RECIPE + END, "multipart/form-data; boundary=ü", "ASCII"),
    "cut off": (RECIPE + file_part(), MULTIPART, "cut off"),
    "cut off in the headers": (RECIPE + b"--cut\r\nContent-Dispo", MULTIPART, "cut off"),
    "a part after the end": (RECIPE + file_part() + END + file_part() + END, MULTIPART, "after the closing boundary"),
    "no end of the headers": (b"--cut\r\nA: b\r\n" + END, MULTIPART, "end of its headers"),
    "a part without a name": (RECIPE + b"--cut\r\nContent-Type: image/png\r\n\r\nx\r\n" + END, MULTIPART, "each part"),
    "a form in the form": (
        RECIPE + file_part().replace(b"image/png", b"multipart/mixed; boundary=b") + END,
        MULTIPART,
        "a form within the form",
    ),
    "a header of a part twice": (
        RECIPE + file_part(more='Content-Disposition: form-data; name="b"\r\n') + END,
        MULTIPART,
        "content-disposition is given twice",
    ),
    "a file in base64": (
        RECIPE + file_part(more="Content-Transfer-Encoding: base64\r\n") + END,
        MULTIPART,
        "Content-Transfer-Encoding 'base64'",
    ),
    "a field that is not UTF-8": (
        field_part("recipe", "web").replace(b"web", b"\xff") + file_part() + END,
        MULTIPART,
        "not UTF-8",
    ),
    "too many parts": (RECIPE * 30 + file_part() + END, MULTIPART, "more than 20 parts"),
    "two media types": (b"...", "image/jpeg, application/json", "one media type"),
    "two media types with parameters": (b"...", "image/jpeg; q=1, text/plain", "one media type"),
    "no media type": (b"...", "jpeg", "one media type"),
}


@pytest.mark.parametrize("case", FORMS)
async def test_a_malformed_body_is_rejected_with_its_cause(memory: Memory, case: str) -> None:
    body, content_type, says = FORMS[case]
    before = len(memory.account.operations)
    query = "" if content_type.startswith("multipart") else "?recipe=tutorial"
    headers = {"content_type": content_type, "content_length": str(len(body))}
    response = await call(memory, "POST", JOBS + query, body, **headers)
    assert (response.status, response.problem) == (400, "bad_request")
    assert says in response.json()["detail"]
    assert len(memory.account.operations) == before


ACCEPTED: dict[str, tuple[bytes, str]] = {
    "any case": (b"", "Multipart/Form-Data; Boundary=cut"),
    "a quoted boundary and another parameter": (b"", 'multipart/form-data; charset=utf-8; boundary="cut";'),
    "a preamble": (b"This is a form.\r\n", MULTIPART),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_valid_forms_of_unusual_clients_are_accepted(memory: Memory, case: str) -> None:
    before, content_type = ACCEPTED[case]
    image = image_bytes(640, 480, "PNG") + b"\r\n--cutter"  # a longer text than the boundary is data
    body = before + RECIPE + file_part(data=image) + END + b"trailing garbage"
    response = await call(memory, "POST", JOBS, body, content_type=content_type)
    assert (response.status, response.json()["state"]) == (200, "done")
    (stored,) = [op for op in memory.account.operations if op[0] == "blob.put" and op[1].startswith("uploads/")]
    assert bytes(stored[2]) == image


async def test_an_empty_image_is_refused_before_it_is_stored(memory: Memory) -> None:
    form = RECIPE + file_part(data=b"") + END
    for url, content_type, body in ((JOBS, MULTIPART, form), (f"{JOBS}?recipe=tutorial", "image/png", b"")):
        before = len(memory.account.operations)
        response = await call(memory, "POST", url, body, content_type=content_type, content_length=str(len(body)))
        assert (response.status, response.problem) == (422, "empty_source")
        assert len(memory.account.operations) == before


async def test_media_types_ignore_case(memory: Memory) -> None:
    image = image_bytes(640, 480, "PNG")
    response = await call(memory, "POST", f"{JOBS}?recipe=tutorial", image, content_type="Image/PNG")
    assert response.status == 200
    response = await call(memory, "POST", JOBS, b"{}", content_type="Application/JSON; Charset=UTF-8")
    assert "missing field" in response.json()["detail"]


def test_lines_may_end_without_a_carriage_return() -> None:
    body = b'--cut\nContent-Disposition: form-data; name="a"\n\nx\r\ny\n--cut--'
    (part,) = multipart.parse(body, "cut")
    assert (part.name, bytes(part.data)) == ("a", b"x\r\ny")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ('filename="über.png"', "über.png"),
        ("filename=\"a.png\"; filename*=UTF-8''%e2%82%ac.png", "€.png"),
        ('filename="C:\\photos\\a \\"b\\".png"', 'C:\\photos\\a "b".png'),
        ("filename=plain.png", "plain.png"),
        ('filename="line\u2028separator.png"', "line\u2028separator.png"),
        ('filename=""', ""),
    ],
)
def test_file_names_of_forms(parameters: str, name: str) -> None:
    (part,) = multipart.parse(file_part(filename=parameters) + END, "cut")
    assert part.filename == name


def test_a_file_is_a_view_of_the_body() -> None:
    body = file_part(data=bytes(1000)) + END
    (part,) = multipart.parse(body, "cut")
    assert part.data.obj is body


@pytest.mark.parametrize("value", ["a; b", 'a; b="c', "a; b=c d", "a; =c", "a; b=1; B=2"])
def test_malformed_header_fields(value: str) -> None:
    with pytest.raises(ValueError, match=r"malformed|twice"):
        HeaderField.parse(value)


async def request(memory: Memory, path: str, body: bytes = b"", **headers: str) -> func.HttpResponse:
    """Send a request with exactly these headers."""
    route = next(each for each in routes.ROUTES if each.path == path.partition("?")[0] and each.method == "POST")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = func.HttpRequest("POST", f"https://x/api/{path}", headers=named, params={"recipe": "tutorial"}, body=body)
    return await routes.handle(route, lambda: memory.services, sent)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": MULTIPART, "transfer_encoding": "chunked"},
        {"content_type": "image/jpeg", "transfer_encoding": "chunked", "content_length": "0"},
        {"content_type": "image/jpeg"},
    ],
)
async def test_a_body_that_the_platform_dropped_is_411(memory: Memory, headers: dict[str, str]) -> None:
    response = await request(memory, "jobs?recipe=tutorial", **headers)
    assert response.status_code == 411
    assert b"Content-Length" in response.get_body()


@pytest.mark.parametrize("path", ["failures/retry", "runs/plan"])
async def test_a_dropped_document_never_selects_everything(memory: Memory, path: str) -> None:
    response = await request(memory, path, content_type="application/json", transfer_encoding="chunked")
    assert response.status_code == 411
    empty = await request(memory, path, content_type="application/json", content_length="0")
    assert empty.status_code == 200
    assert (await request(memory, path)).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "zstd"])
async def test_a_compressed_body_is_415(memory: Memory, encoding: str) -> None:
    for content_type in ("image/jpeg", MULTIPART, "application/json"):
        url = JOBS if content_type == "application/json" else f"{JOBS}?recipe=tutorial"
        response = await call(memory, "POST", url, b"\x1f\x8b", content_type=content_type, content_encoding=encoding)
        assert (response.status, response.problem) == (415, "unsupported_content_encoding")
        assert response.headers["Accept-Encoding"] == "identity"


async def test_the_encoding_identity_is_no_encoding(memory: Memory) -> None:
    image = image_bytes(640, 480, "PNG")
    url = f"{JOBS}?recipe=tutorial"
    for encoding in ("Identity", "identity, identity", ", identity"):
        response = await call(memory, "POST", url, image, content_type="image/png", content_encoding=encoding)
        assert response.status == 200


async def test_a_body_above_the_limit_is_413(memory: Memory) -> None:
    limit = memory.services.settings.http_max_body_bytes
    response = await call(memory, "POST", f"{JOBS}?recipe=web", bytes(limit + 1), content_type="image/png")
    assert (response.status, response.problem) == (413, "body_too_large")
    assert "PIPELINE_HTTP_MAX_BODY_BYTES" in response.json()["detail"]


@pytest.mark.parametrize("query", ["recipe=web&recipe=web", "recipe=web&Recipe=tutorial", "recipe=web&recipe="])
async def test_a_repeated_query_parameter_is_rejected(memory: Memory, query: str) -> None:
    for method, url, body in (("POST", f"{JOBS}?{query}", b"..."), ("GET", f"{JOBS}?{query}", None)):
        response = await call(memory, method, url, body, content_type="image/png")
        assert (response.status, response.problem) == (400, "bad_request")
        assert "'recipe' is given 2 times" in response.json()["detail"]


async def test_a_repeated_name_in_a_document_is_rejected(memory: Memory) -> None:
    for body in (b'{"source": "a", "recipe": "web", "recipe": "web"}', b'{"source": {"name": "a", "name": "b"}}'):
        response = await call(memory, "POST", JOBS, body, content_type="application/json")
        assert (response.status, response.problem) == (400, "bad_request")
        assert "2 times" in response.json()["detail"]
    deep = await call(memory, "POST", JOBS, b"[" * 500_000, content_type="application/json")
    assert deep.problem == "bad_request"


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("OPTIONS", "jobs", 204, "GET, HEAD, POST"),
        ("OPTIONS", "nowhere", 404, None),
        ("HEAD", "jobs/web.YQ/retry", 405, "POST"),
        ("PUT", "jobs", 405, "GET, HEAD, POST"),
        ("PATCH", "jobs/web.YQ", 405, "DELETE, GET, HEAD"),
    ],
)
async def test_other_methods_get_the_allowed_ones(method: str, path: str, status: int, allow: str | None) -> None:
    sent = func.HttpRequest(method, f"https://x/api/{path}", route_params={"path": path}, body=b"")
    response = await routes.handle_unknown(sent)
    assert (response.status_code, response.headers.get("Allow")) == (status, allow)


# -- negotiation -----------------------------------------------------------------------------------------------------

WEB, SINGLE = {"source": "photos/a.jpg", "recipe": "web"}, {"source": "photos/a.jpg", "recipe": "tutorial"}


@pytest.mark.parametrize(
    ("payload", "query", "accept", "kind"),
    [
        (SINGLE, "", "", "application/json"),
        (SINGLE, "", "image/*", "image/png"),
        (SINGLE, "", "image/png", "image/png"),
        (SINGLE, "", "image/webp, application/json;q=0.1", "application/json"),
        (SINGLE, "", "image/webp, */*;q=0.1", "application/json"),
        (SINGLE, "", "image/*;q=0, */*", "application/json"),
        (SINGLE, "", "image/png;q=0, image/*, application/json;q=0.5", "application/json"),
        (SINGLE, "", "text/html, image/png, *; q=.2, */*; q=.2", "image/png"),
        (SINGLE, "", 'nonsense;;=, ,"', "application/json"),
        (SINGLE, "?rendition=crop", "", "image/png"),
        (SINGLE, "?rendition=crop", "application/json", "application/json"),
        (WEB, "", "image/*, application/json", "application/json"),
        (WEB, "?rendition=thumb", "image/*", "image/jpeg"),
        (WEB, "?rendition=small", "*/*", "image/webp"),
        (WEB, "?rendition=small", "image/jpeg, application/json;q=0.5", "application/json"),
    ],
)
async def test_the_client_chooses_json_or_an_image(
    memory: Memory, payload: dict[str, Any], query: str, accept: str, kind: str
) -> None:
    await memory.upload("photos/a.jpg", image_bytes(640, 480))
    headers = {"accept": accept} if accept else {}
    response = await call(memory, "POST", JOBS + query, payload, **headers)
    assert (response.status, response.kind) == (200, kind)


@pytest.mark.parametrize(
    ("payload", "query", "accept", "status", "says"),
    [
        (WEB, "", "image/*", 406, "?rendition=NAME (small, thumb)"),
        (WEB, "?rendition=small", "image/jpeg", 406, "image/webp"),
        (SINGLE, "", "image/webp", 406, "image/png"),
        (SINGLE, "", "image/*;q=0", 406, "image/png"),
        (SINGLE, "", "*/*;q=0", 406, "image/png"),
        (WEB, "?rendition=large", "image/*", 404, "small, thumb"),
        (WEB, "?rendition=large", "application/json", 404, "small, thumb"),
    ],
)
async def test_what_cannot_be_served_is_refused_before_the_job(
    memory: Memory, payload: dict[str, Any], query: str, accept: str, status: int, says: str
) -> None:
    await memory.upload("photos/a.jpg", image_bytes(640, 480))
    before = len(memory.account.operations)
    response = await call(memory, "POST", JOBS + query, payload, accept=accept)
    assert (response.status, response.problem) == (status, "not_acceptable" if status == 406 else "unknown_rendition")
    assert says in response.json()["detail"]
    assert len(memory.account.operations) == before


async def test_a_preview_returns_the_chosen_rendition(memory: Memory) -> None:
    url, image = "/api/preview?recipe=web", image_bytes(640, 480)
    chosen = await call(memory, "POST", f"{url}&rendition=thumb", image, content_type="image/jpeg", accept="image/*")
    assert (chosen.kind, size(chosen.body)) == ("image/jpeg", (64, 64))
    refused = await call(memory, "POST", url, image, content_type="image/jpeg", accept="image/*")
    assert (refused.status, refused.problem) == (406, "not_acceptable")


async def test_a_format_that_the_engine_chose_may_be_refused_after_the_job() -> None:
    recipes = "recipes:\n  web:\n    renditions:\n      a: {format: keep}\n"
    async with open_in_memory(recipes) as memory:
        await memory.upload("a.png", image_bytes(64, 48, "PNG"))
        response = await call(memory, "POST", JOBS, {"source": "a.png", "recipe": "web"}, accept="image/webp")
        assert (response.status, response.problem) == (406, "not_acceptable")
        assert response.headers["Location"] == f"/api/jobs/{response.json()['job']}"


def test_weights_follow_the_most_specific_range() -> None:
    accept = Accept.parse('image/*;q=0.3, image/png ; Q=0.7, */*;q=0.1, text/html;q=2, a/b;level="1,2";q=0.5')
    found = {kind: accept.weight(kind)[0] for kind in ("image/png", "image/jpeg", "text/html", "a/b")}
    assert found == {"image/png": 0.7, "image/jpeg": 0.3, "text/html": 0.1, "a/b": 0.5}
    assert Accept.parse('"' * 100_000).ranges == ()
    with pytest.raises(RequestError):
        multipart.parse(form_body(b"x")[:-9], "cut")


# -- memory ----------------------------------------------------------------------------------------------------------


def test_a_budget_refuses_work_beside_other_work_only() -> None:
    budget = ByteBudget(100)
    with budget.reservation() as first, budget.reservation() as second:
        assert first.add(150), "work that runs alone gets any size"
        assert not second.add(1)
        assert second.add(0)
        assert first.add(10)
    assert budget.used == 0


async def test_uploads_above_the_memory_budget_are_503_at_once() -> None:
    async with open_in_memory(http_memory_bytes=MIB) as memory:
        entered, proceed = asyncio.Event(), asyncio.Event()
        memory.before_next("POST files", lambda: waiting(entered, proceed))
        image = image_bytes(640, 480, "PNG") + bytes(700_000)
        url, headers = f"{JOBS}?recipe=tutorial", {"content_type": "image/png"}
        first = asyncio.create_task(call(memory, "POST", url, image, **headers))
        await entered.wait()
        refused = await call(memory, "POST", url, image, **headers)
        assert (refused.status, refused.problem) == (503, "http_memory_full")
        assert int(refused.headers["Retry-After"]) > 0
        assert (await call(memory, "GET", "/api/version")).status == 200
        proceed.set()
        assert (await first).status == 200
        assert memory.services.http_memory.used == 0
        assert (await call(memory, "POST", url, image, **headers)).status == 200


async def waiting(entered: asyncio.Event, proceed: asyncio.Event) -> None:
    """Report that a call has begun, and hold it back."""
    entered.set()
    await proceed.wait()


async def test_images_above_the_memory_budget_are_503() -> None:
    async with open_in_memory(http_memory_bytes=MIB) as memory:
        await memory.upload("photos/a.jpg", image_bytes(640, 480))
        job = (await call(memory, "POST", JOBS, WEB)).json()
        urls = [job["renditions"][0]["href"], f"/api/jobs/{job['id']}/source"]
        with memory.services.http_memory.reservation() as others:
            others.add(MIB)
            for url in urls:
                refused = await call(memory, "GET", url)
                assert (refused.status, refused.problem) == (503, "http_memory_full")
            preview = await call(memory, "POST", "/api/preview?recipe=web", b"", content_type="image/png")
            assert preview.status != 200
        for url in urls:
            assert (await call(memory, "GET", url)).status == 200


async def test_an_overwritten_rendition_is_not_read_beyond_the_limit() -> None:
    async with open_in_memory(http_max_response_bytes=100_000) as memory:
        await memory.upload("photos/a.jpg", image_bytes(640, 480))
        job = (await call(memory, "POST", JOBS, WEB)).json()
        (path, *_) = await memory.outputs()
        await memory.services.account.container("output").upload_blob(path, bytes(100_001), overwrite=True)
        found = [await call(memory, "GET", each["href"]) for each in job["renditions"]]
        assert sorted(each.status for each in found) == [200, 422]


async def test_the_app_copies_no_upload() -> None:
    """Beside the body that the platform holds, an upload takes at most a few blocks of 4 MiB."""
    body = RECIPE + file_part(data=bytes(48 * MIB)) + END
    async with open_in_memory() as memory:
        blocks: list[int] = []
        upload = memory.account._carry_out

        async def forgetful(op: Any) -> Any:
            if op[0] == "blob.block":
                blocks.append(len(op[3]))
                return Response(None, 200)
            return await upload(op)

        memory.account._send = forgetful  # type: ignore[method-assign]
        tracemalloc.start()
        await call(memory, "POST", JOBS, body, content_type=MULTIPART)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(blocks) == 48 * MIB
        assert peak < submit.MAX_STORING_BYTES


def test_each_route_with_a_body_documents_a_dropped_one() -> None:
    with_body = {name: each for name, each in CONTRACTS.items() if each.body or each.form}
    assert [name for name, each in with_body.items() if not {400, 411, 413, 415} <= set(each.problems)] == []
