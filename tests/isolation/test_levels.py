"""What a hostile program in the decoder's place reaches, by isolation level: the tables of docs/security.md.

The first job of a session runs the program; the second one is another image. Both are real jobs in real sandboxes, once
with a kernel that stays and once with a kernel that restarts after each execution.
"""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from pipeline.errors import PipelineError
from pipeline.storage.ledger import Entry
from tests.images import image_bytes
from tests.isolation.attacks import ATTACKS, program
from tests.isolation.conftest import MODES
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
NAMES = map("n{}".format, itertools.count())
JOBS = {
    "single": ("single", "{0}/a.png", "single", "{0}/b.png"),
    "tenant, another folder": ("tenant", "{0}/a.png", "tenant", "{0}-2/b.png"),
    "tenant, same folder": ("tenant", "{0}/a.png", "tenant", "{0}/b.png"),
    "shared": ("shared", "{0}/a.png", "shared-2", "{0}/b.png"),
    "trusted": ("trusted", "{0}/a.png", "trusted-2", "{0}/b.png"),
}
"""Recipe and source of the hostile job, and of the next job, by level."""
SEPARATE = ("single", "tenant, another folder")
SHARING = tuple(level for level in JOBS if level not in SEPARATE)
VICTIM = image_bytes(400, 300, "PNG", seed=7)
_TAMPERED = re.compile(r"\((a |another |session_tainted)")


def table(mode: str) -> dict[str, dict[str, str]]:
    """Read the table of a mode from the page: outcomes by attack and level."""
    section = PAGE.split(f"### If {mode}\n")[1].split("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    levels = [re.sub("`", "", cell) for cell in rows[0][1:]]
    return {row[0]: dict(zip(levels, row[1:], strict=True)) for row in rows[2:]}


def hostile_image(code: str) -> bytes:
    """Build an image that makes the vulnerable decoder execute `code`."""
    info, packed = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("exploit", code, zip=True)
    Image.new("RGB", (60, 40), "blue").save(packed, "PNG", pnginfo=info)
    return packed.getvalue()


async def run(stack: Stack, recipe: str, name: str, data: bytes) -> tuple[Entry, int]:
    """Run a job until it ends, and return it with the number of calls that this took."""
    await stack.upload(name, data)
    services = stack.services
    for calls in (1, 2, 3):
        try:
            entry = await services.executor.execute(
                services.settings.input_container, name, services.recipes.get(recipe)
            )
        except PipelineError:
            continue
        if entry.state in ("done", "failed"):
            return entry, calls
    raise AssertionError(f"{name} does not end")


async def identifier(stack: Stack) -> str:
    """Return the identifier of the only slot's session; empty before the first job."""
    container = stack.services.account.container(stack.services.settings.state_container)
    names = [blob.name async for blob in container.list_blobs(name_starts_with="slots/")]
    if not names:
        return ""
    return str(json.loads(await (await container.download_blob(names[0])).readall()).get("identifier", ""))


async def outcome(stack: Stack, level: str, code: str, log: pytest.LogCaptureFixture) -> str:
    """Run a hostile program as the first job of a session, then another job, and say what it did to that one."""
    if session := await identifier(stack):
        await stack.services.pool.end(session)
    name = next(NAMES)
    recipe, hostile, next_recipe, victim = (part.format(name) for part in JOBS[level])
    with log.at_level(logging.INFO, "pipeline"):
        log.clear()
        entry, _ = await run(stack, recipe, hostile, hostile_image(code))
        assert entry.state == "done", entry.error_message
        entry, calls = await run(stack, next_recipe, victim, VICTIM)
    recycled = [record.getMessage() for record in log.records if getattr(record, "event", "") == "session.recycled"]
    if entry.state == "failed":
        return "fails"
    made = (await stack.outputs())[f"{next_recipe}/{victim}/out.png"]
    if Image.open(io.BytesIO(made)).tobytes() != Image.open(io.BytesIO(VICTIM)).tobytes():
        return "changes"
    if calls > 1 or entry.attempts > 1:
        return "delays"
    looked = (await stack.services.pool.execute(await identifier(stack), LOOK, 20)).stdout.strip()
    if looked == "another session" and any(map(_TAMPERED.search, recycled)):
        return "found"
    if looked == "another session":
        return "nothing" if level in SEPARATE else "delays"
    return looked


LOOK = """
import os, time

end = time.monotonic() + 1
while os.path.isdir("/tmp/loot") and not os.listdir("/tmp/loot") and time.monotonic() < end:
    time.sleep(0.01)
print("another session" if not os.path.isdir("/tmp/loot") else "reads" if os.listdir("/tmp/loot") else "no effect")
"""


@pytest.mark.parametrize("level", SHARING)
@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_reaches_what_the_page_says(
    stack: Stack, mode: str, attack: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    reached = await outcome(stack, level, program(attack), caplog)
    assert reached == table(mode)[attack][level]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_tamper_check_finds_what_the_page_says(
    stack: Stack, mode: str, attack: str, caplog: pytest.LogCaptureFixture
) -> None:
    reached = await outcome(stack, "shared", program(attack, disable=False), caplog)
    assert reached == table(mode)[attack]["with the tamper check"]


@pytest.mark.parametrize("level", SEPARATE)
async def test_all_attacks_together_do_not_leave_a_session(
    stack: Stack, mode: str, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert {row[level] for row in table(mode).values()} == {"nothing"}
    assert await outcome(stack, level, program(*ATTACKS), caplog) == "nothing"


@pytest.mark.parametrize("mode", MODES, scope="function")
async def test_the_page_lists_each_attack_and_level(mode: str) -> None:
    assert list(table(mode)) == list(ATTACKS)
    assert {tuple(row) for row in table(mode).values()} == {("with the tamper check", *JOBS)}
