"""Files: upload, download, list, delete."""

from __future__ import annotations

import pytest

from tests.session_pool_emulator.emulator import Emulator

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_downloaded_file_equals_the_uploaded_one(shared_pool: Emulator, session: str) -> None:
    content = bytes(range(256)) * 5000
    described = (await shared_pool.upload(session, "photo.jpg", content)).json()
    assert described["name"] == "photo.jpg"
    assert described["type"] == "file"
    assert described["contentType"] == "image/jpeg"
    assert described["sizeInBytes"] == len(content)
    assert described["directory"] == "."
    response = await shared_pool.call("GET", "/files/photo.jpg/content", session)
    assert response.content == content
    assert response.headers["content-type"] == "image/jpeg"
    assert (await shared_pool.call("GET", "/files/photo.jpg", session)).json() == described
    assert (await shared_pool.call("GET", "/files", session)).json() == {"value": [described]}


async def test_code_and_api_share_the_files(shared_pool: Emulator, session: str) -> None:
    await shared_pool.upload(session, "in.txt", b"hello")
    code = "text = open('/mnt/data/in.txt').read(); open('/mnt/data/out.txt', 'w').write(text.upper())"
    assert (await shared_pool.execute(session, code))["status"] == "Succeeded"
    response = await shared_pool.call("GET", "/files/out.txt/content", session)
    assert (response.content, response.headers["content-type"]) == (b"HELLO", "text/plain; charset=utf-8")


async def test_code_owns_uploaded_files(shared_pool: Emulator, session: str) -> None:
    await shared_pool.upload(session, "in.txt", b"hello")
    code = "import os; p = '/mnt/data/in.txt'; open(p, 'a').write('!'); os.chmod(p, 0o600); os.remove(p); print('ok')"
    assert await shared_pool.output(session, code) == "ok\n"


async def test_a_deleted_file_is_gone(shared_pool: Emulator, session: str) -> None:
    await shared_pool.upload(session, "a.txt", b"x")
    assert (await shared_pool.call("DELETE", "/files/a.txt", session)).status_code == 204
    for method, path in (("GET", "/files/a.txt"), ("GET", "/files/a.txt/content"), ("DELETE", "/files/a.txt")):
        assert (await shared_pool.call(method, path, session)).status_code == 404
    assert (await shared_pool.call("GET", "/files", session)).json() == {"value": []}


async def test_symbolic_links_are_not_followed(shared_pool: Emulator, session: str) -> None:
    await shared_pool.execute(
        session, "import os; os.symlink('/etc', '/mnt/data/d'); os.symlink('/etc/passwd', '/mnt/data/f')"
    )
    assert (await shared_pool.call("GET", "/files", session)).json() == {"value": []}
    assert (await shared_pool.call("GET", "/files/f/content", session)).status_code == 404
    params = {"path": "d"}
    assert (await shared_pool.call("GET", "/files/passwd/content", session, params=params)).status_code == 404
    assert (await shared_pool.upload(session, "passwd", b"x", path="d")).status_code == 404


async def test_a_named_pipe_does_not_block_the_server(shared_pool: Emulator, session: str) -> None:
    await shared_pool.execute(session, "import os; os.mkfifo('/mnt/data/pipe')")
    assert (await shared_pool.call("GET", "/files/pipe/content", session)).status_code == 404
