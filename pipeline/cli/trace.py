"""Command `trace`: draw the timeline of jobs, grouped by session, from the spans that the ledger holds for each job."""

import asyncio
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Annotated, Any

import typer
from jinja2 import Template

from pipeline.cli.common import console, counted, errors_shown, with_services
from pipeline.errors import ConfigError
from pipeline.services import Services
from pipeline.storage import Entry

STAGES = {
    "claim": ("#8d99ae", "open the source, claim the job"),
    "acquire": ("#e9ecef", "wait for a session"),
    "upload": ("#4c9be8", "transfer to the session"),
    "wait": ("#f3e9c6", "wait until the session is free"),
    "execute": ("#e4572e", "decode, transform, encode"),
    "download": ("#3cb371", "transfer from the session, verify"),
    "commit": ("#9b5de5", "write the renditions"),
}
"""Color and meaning of each stage."""
WAITING_STAGES = ("acquire", "wait")
TICKS_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 1e9)
WIDTH, LEFT, TOP, ROW_HEIGHT, SESSION_HEADER, SESSION_GAP = 1200, 90, 104, 9, 16, 22
TEMPLATE = Path(__file__).with_name("timeline.svg.jinja")


@dataclass(frozen=True)
class Span:
    """One stage of a job: `start` and `end` in seconds since the start of the first job."""

    stage: str
    start: float
    end: float


@dataclass(frozen=True)
class Lane:
    """The spans of one job, and its session (slot and generation)."""

    name: str
    session: str
    spans: list[Span]

    @property
    def start(self) -> float:
        """Start of the job."""
        return self.spans[0].start

    @property
    def end(self) -> float:
        """End of the job."""
        return max(span.end for span in self.spans)


def lanes(jobs: Iterable[tuple[str, dict[str, Any]]]) -> list[Lane]:
    """Return the lanes of jobs, in the order of their starts. Jobs without recorded spans are left out.

    Args:
        jobs: The source name and the ledger's report of each job.
    """
    timed = [(name, report) for name, report in jobs if report.get("spans") and report.get("began")]
    first = min((report["began"] for _, report in timed), default=0.0)
    result = []
    for name, report in timed:
        offset = report["began"] - first
        spans = [Span(stage, offset + at / 1000, offset + (at + ms) / 1000) for stage, at, ms in report["spans"]]
        result.append(Lane(name, report.get("session") or "?", sorted(spans, key=lambda span: span.start)))
    return sorted(result, key=lambda lane: lane.start)


def executions(jobs: Iterable[Lane]) -> list[tuple[float, float]]:
    """Return the periods in which any of the jobs executes. Jobs of a microbatch share one period."""
    periods: list[tuple[float, float]] = []
    spans = [span for lane in jobs for span in lane.spans if span.stage == "execute"]
    for span in sorted(spans, key=lambda span: span.start):
        if periods and span.start <= periods[-1][1]:
            periods[-1] = (periods[-1][0], max(periods[-1][1], span.end))
        else:
            periods.append((span.start, span.end))
    return periods


def utilization(jobs: list[Lane]) -> dict[str, float]:
    """Return the busy share of each session, from the start of its first execution to the end of its last."""
    shares = {}
    for session in sorted({lane.session for lane in jobs}):
        if periods := executions(lane for lane in jobs if lane.session == session):
            busy = sum(end - start for start, end in periods)
            shares[session] = busy / max(periods[-1][1] - periods[0][0], 1e-9)
    return shares


def medians(jobs: list[Lane]) -> dict[str, float]:
    """Return the median time that a job spends in each stage, in milliseconds."""
    times: dict[str, list[float]] = {}
    for lane in jobs:
        for stage in {span.stage for span in lane.spans}:
            seconds = sum(span.end - span.start for span in lane.spans if span.stage == stage)
            times.setdefault(stage, []).append(seconds * 1000)
    return {stage: statistics.median(times[stage]) for stage in STAGES if stage in times}


def as_svg(jobs: list[Lane], title: str) -> str:
    """Return the timeline as a self-contained SVG image."""
    length = max((lane.end for lane in jobs), default=1.0) or 1.0
    sessions, y = [], TOP
    for name, share in utilization(jobs).items():
        own = [lane for lane in jobs if lane.session == name]
        rows = list(_rows(own))
        sessions.append({"name": name, "share": share, "y": y, "executions": executions(own), "rows": rows})
        y += SESSION_HEADER + (max(row for _, row in rows) + 1) * ROW_HEIGHT + SESSION_GAP
    tick = next(each for each in TICKS_SECONDS if length / each <= 12)
    svg: str = Template(TEMPLATE.read_text(encoding="utf-8"), autoescape=True).render(
        title=title,
        width=WIDTH,
        height=y,
        row_height=ROW_HEIGHT,
        stages=STAGES,
        waits=WAITING_STAGES,
        medians=medians(jobs),
        ticks=[index * tick for index in range(int(length / tick) + 1)],
        sessions=sessions,
        x=lambda seconds: LEFT + seconds / length * (WIDTH - LEFT - 10),
    )
    return svg


def as_html(jobs: list[Lane], title: str) -> str:
    """Return the timeline as an HTML page."""
    style = "body{margin:1rem;background:#fff}svg{max-width:100%;height:auto}"
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
    return f'<!doctype html><html lang="en">{head}{as_svg(jobs, title)}</html>\n'


def _rows(jobs: list[Lane]) -> Iterator[tuple[Lane, int]]:
    """Yield every job with the number of the first row in which it overlaps no other job."""
    ends: list[float] = []
    for lane in jobs:
        row = next((row for row, end in enumerate(ends) if end <= lane.start), len(ends))
        ends[row : row + 1] = [lane.end]
        yield lane, row


MAX_CONCURRENT_READS = 16


def command(
    run: Annotated[str, typer.Argument(help="Run id. Default: the jobs that ended last.")] = "",
    recipe: Annotated[str | None, typer.Option(help="Only jobs of this recipe.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of jobs.")] = 200,
    out: Annotated[Path, typer.Option(help="Output file: .html or .svg.")] = Path("trace.html"),
) -> None:
    """Draw the timeline of jobs as HTML or SVG."""
    if out.suffix not in (".html", ".svg"):
        raise typer.BadParameter(f"{out} is neither .html nor .svg")
    title = f"run {run}" if run else f"the last jobs{f' of {recipe}' if recipe else ''}"
    drawn = lanes(with_services(lambda services: _reports(services, run, recipe, jobs)))
    text = as_svg(drawn, title) if out.suffix == ".svg" else as_html(drawn, title)
    with errors_shown():
        out.write_text(text, encoding="utf-8")
    for session, share in utilization(drawn).items():
        console.print(f"session {session}: {share:.0%} busy")
    console.print(", ".join(f"{stage} {ms:.0f} ms" for stage, ms in medians(drawn).items()))
    console.print(f"{counted(len(drawn), 'job')} in {out}")


async def _reports(services: Services, run: str, recipe: str | None, limit: int) -> list[tuple[str, dict[str, object]]]:
    """Return the source names and reports of done jobs, newest first. Raises ConfigError if there are none."""
    entries: list[Entry] = []
    cursor = ""
    while not entries or (cursor and len(entries) < limit):
        page, cursor = await services.ledger.page(recipe=recipe, state="done", run=run, limit=limit, cursor=cursor)
        entries += page
        if not entries and not cursor:
            raise ConfigError(f"nothing to draw: no job {f'of run {run}' if run else 'with these settings'} is done")
    semaphore = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def read(entry: Entry) -> Entry | None:
        async with semaphore:
            return await services.ledger.get(entry.key)

    complete = await asyncio.gather(*(read(entry) for entry in entries[:limit]))
    return [(entry.name, entry.report) for entry in complete if entry]
