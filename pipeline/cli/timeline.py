"""The timeline of a run as a picture: what every session and every job did when, as the jobs themselves noted it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

COLOURS = {
    "claim": "#8d99ae",
    "acquire": "#e9ecef",
    "upload": "#4c9be8",
    "wait": "#f3e9c6",
    "execute": "#e4572e",
    "download": "#3cb371",
    "commit": "#9b5de5",
}
WAITS = ("acquire", "wait")
MEANS = {
    "claim": "open the source, claim the job",
    "acquire": "wait for a session",
    "upload": "into the session",
    "wait": "wait until the session is free",
    "execute": "Pillow at work",
    "download": "out of the session, verified",
    "commit": "write the renditions",
}
WIDTH, LEFT, ROW, GAP = 1200, 90, 9, 22


@dataclass(frozen=True)
class Stretch:
    """One stage of one job: from `start` to `end`, in seconds since the first job began."""

    stage: str
    start: float
    end: float


@dataclass(frozen=True)
class Lane:
    """One job's way, and the session (slot and generation) that it ran in."""

    name: str
    session: str
    stretches: list[Stretch]

    @property
    def start(self) -> float:
        """When it began."""
        return self.stretches[0].start

    @property
    def end(self) -> float:
        """When it was over."""
        return max(each.end for each in self.stretches)


def lanes(jobs: Iterable[tuple[str, dict[str, Any]]]) -> list[Lane]:
    """The jobs (a name and a ledger's report each) in the order in which they began; those without times left out."""
    told = [(name, report) for name, report in jobs if report.get("spans") and report.get("began")]
    first = min((report["began"] for _, report in told), default=0.0)
    made = []
    for name, report in told:
        offset = report["began"] - first
        stretches = [
            Stretch(stage, offset + start / 1000, offset + (start + took) / 1000)
            for stage, start, took in report["spans"]
        ]
        made.append(Lane(name, report.get("session") or "?", sorted(stretches, key=lambda each: each.start)))
    return sorted(made, key=lambda lane: lane.start)


def busy(found: list[Lane]) -> dict[str, float]:
    """For each session, the part of the time from its first run to the end of its last in which it ran something."""
    parts = {}
    for session in sorted({lane.session for lane in found}):
        runs = merged(
            each for lane in found if lane.session == session for each in lane.stretches if each.stage == "execute"
        )
        if runs:
            parts[session] = sum(end - start for start, end in runs) / max(runs[-1][1] - runs[0][0], 1e-9)
    return parts


def _runs(jobs: Iterable[Lane]) -> list[Stretch]:
    return [each for lane in jobs for each in lane.stretches if each.stage == "execute"]


def merged(stretches: Iterable[Stretch]) -> list[tuple[float, float]]:
    """What they cover together, in order. Jobs of one execution share its time."""
    covered: list[tuple[float, float]] = []
    for each in sorted(stretches, key=lambda each: each.start):
        if covered and each.start <= covered[-1][1]:
            covered[-1] = (covered[-1][0], max(covered[-1][1], each.end))
        else:
            covered.append((each.start, each.end))
    return covered


def medians(found: list[Lane]) -> dict[str, float]:
    """Milliseconds that jobs spent in each stage, in the median."""
    spent: dict[str, list[float]] = {}
    for lane in found:
        for stage in {each.stage for each in lane.stretches}:
            took = sum(each.end - each.start for each in lane.stretches if each.stage == stage)
            spent.setdefault(stage, []).append(took * 1000)
    return {stage: statistics.median(spent[stage]) for stage in COLOURS if stage in spent}


def as_svg(found: list[Lane], title: str) -> str:
    """The picture, complete in itself."""
    span = max((lane.end for lane in found), default=1.0) or 1.0
    parts, y = [], 104.0
    for session, part in busy(found).items():
        jobs = [lane for lane in found if lane.session == session]
        parts.append(f'<text x="4" y="{y + 11}" class="b">{escape(session)}</text>')
        parts.append(f'<text x="4" y="{y + 24}">{part:.0%} busy</text>')
        parts += _session(jobs, y, span)
        y += 16
        rows = list(_packed(jobs))
        for lane, row in rows:
            parts += _bars(lane, y + row * ROW, span)
        y += (max((row for _, row in rows), default=0) + 1) * ROW + GAP
    return "\n".join([*_head(found, title, span, y), *parts, "</svg>"])


def as_html(found: list[Lane], title: str) -> str:
    """The picture as a page of its own."""
    style = "body{margin:1rem;background:#fff}svg{max-width:100%;height:auto}"
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
    return f'<!doctype html><html lang="en">{head}{as_svg(found, title)}</html>\n'


def _head(found: list[Lane], title: str, span: float, bottom: float) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom:.0f}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui,sans-serif" font-size="11">'
        f"<style>.b{{font-weight:600}}.t{{font-size:15px;font-weight:600}}</style>"
        f'<rect width="{WIDTH}" height="{bottom:.0f}" fill="#fff"/><text x="4" y="18" class="t">{escape(title)}</text>'
    )
    took = medians(found)
    for index, (stage, colour) in enumerate(COLOURS.items()):
        x, y = 4 + index % 4 * 295, 34 + index // 4 * 18
        told = f"{stage}: {MEANS[stage]}" + (f", {took[stage]:.0f} ms" if stage in took else "")
        yield f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}" stroke="#999" stroke-width=".5"/>'
        yield f'<text x="{x + 15}" y="{y}">{escape(told)}</text>'
    step = next(each for each in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 1e9) if span / each <= 12)
    for index in range(int(span / step) + 1):
        at = _x(index * step, span)
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="84" y2="{bottom:.0f}" stroke="#eee"/>'
        yield f'<text x="{at:.1f}" y="80" text-anchor="middle">{index * step:g} s</text>'


def _session(jobs: list[Lane], y: float, span: float) -> Iterator[str]:
    """What the session did: a bar for every execution."""
    for start, end in merged(_runs(jobs)):
        yield _bar(y, 11, COLOURS["execute"], start, end, span, f"execute, {(end - start) * 1000:.0f} ms")


def _bars(lane: Lane, y: float, span: float) -> Iterator[str]:
    for each in lane.stretches:
        told = f"{lane.name}: {each.stage}, {(each.end - each.start) * 1000:.0f} ms"
        height = ROW - 5 if each.stage in WAITS else ROW - 2
        yield _bar(y, height, COLOURS.get(each.stage, "#000"), each.start, each.end, span, told)


def _bar(y: float, height: float, colour: str, start: float, end: float, span: float, told: str) -> str:
    x, width = _x(start, span), max(_x(end, span) - _x(start, span), 0.4)
    return (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height}" fill="{colour}">'
        f"<title>{escape(told)}</title></rect>"
    )


def _packed(jobs: list[Lane]) -> Iterator[tuple[Lane, int]]:
    """Every job with its row: the first in which the one before is over."""
    ends: list[float] = []
    for lane in jobs:
        row = next((row for row, end in enumerate(ends) if end <= lane.start), len(ends))
        ends[row : row + 1] = [lane.end]
        yield lane, row


def _x(seconds: float, span: float) -> float:
    return LEFT + seconds / span * (WIDTH - LEFT - 10)
