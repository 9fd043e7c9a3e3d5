"""The timeline of jobs as a picture."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.cli import timeline, trace
from pipeline.errors import ConfigError
from tests.images import picture
from tests.stack import Stack

SVG = "{http://www.w3.org/2000/svg}"


def report(began: float, *marks: tuple[str, float, float], session: str = "000.1") -> dict[str, Any]:
    return {"began": began, "session": session, "spans": [list(mark) for mark in marks]}


JOBS = [
    ("b.jpg", report(1000.5, ("upload", 0, 400), ("execute", 1000, 500))),
    ("a<&>.jpg", report(1000.0, ("claim", 0, 100), ("upload", 100, 400), ("execute", 500, 1000))),
    ("c.jpg", report(1000.0, ("execute", 2000, 1000), session="001.4")),
    ("without times", {}),
]


def test_jobs_are_put_on_one_clock_in_the_order_in_which_they_began() -> None:
    lanes = timeline.lanes(JOBS)
    assert [lane.name for lane in lanes] == ["a<&>.jpg", "b.jpg", "c.jpg"]
    assert [(each.stage, each.start, each.end) for each in lanes[1].stretches] == [
        ("upload", 0.5, 0.9),
        ("execute", 1.5, 2.0),
    ]


def test_a_session_is_busy_while_anything_runs_in_it() -> None:
    busy = timeline.busy(timeline.lanes(JOBS))
    assert busy == {"000.1": pytest.approx(1.0), "001.4": pytest.approx(1.0)}
    apart = [("a", report(0.1, ("execute", 0, 1000))), ("b", report(0.1, ("execute", 3000, 1000)))]
    assert timeline.busy(timeline.lanes(apart)) == {"000.1": pytest.approx(0.5)}


def test_jobs_that_share_an_execution_count_its_time_once() -> None:
    lanes = timeline.lanes([("a", report(5.0, ("execute", 0, 800))), ("b", report(5.0, ("execute", 0, 800)))])
    assert timeline.merged(each for lane in lanes for each in lane.stretches) == [(0.0, 0.8)]


def test_the_picture_has_a_bar_for_every_stage_and_is_whole_in_itself() -> None:
    text = timeline.as_svg(timeline.lanes(JOBS), "a run <&>")
    root = ElementTree.fromstring(text)  # noqa: S314 - our own
    told = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert sum("a<&>.jpg: " in each for each in told) == 3
    assert sum(each.startswith("execute, ") for each in told) == 2, "one execution after the other is one stretch"
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "a run &lt;&amp;&gt;" in timeline.as_html(timeline.lanes(JOBS), "a run <&>")


async def test_it_is_drawn_from_what_the_ledger_says(stack: Stack) -> None:
    services = stack.services
    with pytest.raises(ConfigError, match="nothing to draw"):
        await trace._noted(services, "", None, 10)
    for name in ("photos/a.jpg", "photos/b.jpg"):
        await stack.drop(name, picture())
        await services.executor.execute(services.settings.input_container, name, services.recipes.get("web"))
    lanes = timeline.lanes(await trace._noted(services, "", "web", 10))
    assert [lane.name for lane in lanes] == ["photos/a.jpg", "photos/b.jpg"]
    stages = [each.stage for each in lanes[0].stretches]
    assert stages == ["claim", "acquire", "upload", "wait", "execute", "download", "commit"]
    assert set(stages) == set(timeline.COLOURS)
