"""Charts as SVG, out of plain numbers: no script, no styles of their own, colours from the page's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, log10

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 150
LEFT, BOTTOM, TOP = 40, 20, 8
HIGH = HEIGHT - BOTTOM - TOP
COLOURS = ("c1", "c6", "c3", "c4", "c5", "c7", "c8")
"""For parts of a whole that mean nothing good or bad; `c2` is for what failed."""


@dataclass(frozen=True)
class Series:
    """One row of numbers, drawn in the colour of the class `kind`."""

    name: str
    kind: str
    values: Sequence[float]


def columns(about: str, moments: Sequence[datetime], series: Sequence[Series]) -> Markup:
    """Stacked columns over time (UTC, which a script turns into the viewer's), a scale on the left.

    Every column has its numbers as a tooltip; the whole is summed up in words for those who do not see it.
    """
    top = nice(max((sum(column) for column in zip(*(each.values for each in series), strict=True)), default=0))
    step = (WIDTH - LEFT) / max(1, len(moments))
    parts = [_grid(top), *(_column(index, step, moment, series, top) for index, moment in enumerate(moments))]
    ends = ((LEFT, "start", moments[0]), (WIDTH, "end", moments[-1])) if moments else ()
    parts += [_clock(x, HEIGHT - 4, moment, anchor) for x, anchor, moment in ends]
    sums = ", ".join(f"{sum(each.values):,.0f} {each.name}" for each in series)
    return _svg(f"{about}: {sums} in all", WIDTH, HEIGHT, parts)


def bar(title: str, parts: Sequence[tuple[str, str, float]]) -> Markup:
    """One bar divided among (name, class, amount): what a whole consists of."""
    whole = sum(amount for _, _, amount in parts)
    x, drawn = 0.0, []
    for name, kind, amount in parts:
        if whole and amount:
            wide = 100 * amount / whole
            told = Markup("<title>{}: {:,g}</title>").format(name, round(amount, 1))
            drawn.append(_rect(x, 0, wide, 8, f"part {kind}", told))
            x += wide
    said = ", ".join(f"{name} {amount:,g}" for name, _, amount in parts)
    inside = Markup().join(drawn) or _rect(0, 0, 100, 8, "part none")
    return Markup(
        '<svg class="split" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(f"{title}: {said}", inside)


def timeline(title: str, spans: Sequence[tuple[str, str, float, float]]) -> Markup:
    """Stretches of time (name, class, start, length in milliseconds), a row for each name, the earliest on top."""
    names = list(dict.fromkeys(name for name, _, _, _ in spans))
    whole = max((start + length for _, _, start, length in spans), default=0) or 1
    drawn = []
    for name, kind, start, length in spans:
        told = Markup("<title>{}: {:,.0f} ms, from {:,.0f} ms on</title>").format(name, length, start)
        wide = max(length / whole * 100, 0.4)
        drawn.append(_rect(min(start / whole * 100, 100 - wide), names.index(name) * 10 + 1, wide, 8, kind, told))
    said = ", ".join(f"{name} {length:,.0f} ms" for name, _, _, length in spans)
    return Markup(
        '<svg class="timeline" viewBox="0 0 100 {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(len(names) * 10, f"{title}: {said}", Markup().join(drawn))


def nice(most: float) -> float:
    """The end of a scale: the next of 1, 2, 2.5, 5 times a power of ten (2 at least)."""
    if most <= 2:
        return 2.0
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= most)


def _column(index: int, step: float, moment: datetime, series: Sequence[Series], top: float) -> Markup:
    x, y = LEFT + index * step, float(HEIGHT - BOTTOM)
    bars, told = [], ", ".join(f"{each.values[index]:,.0f} {each.name}" for each in series)
    for each in series:
        tall = HIGH * each.values[index] / top
        y -= tall
        if tall:
            bars.append(_rect(x + step * 0.1, y, step * 0.8, tall, f"bar {each.kind}"))
    title = Markup('<title data-clock="{}" data-rest=": {}">{:%H:%M} UTC: {}</title>').format(
        moment.isoformat(), told, moment, told
    )
    return Markup("<g>{}{}{}</g>").format(title, _rect(x, TOP, step, HIGH, "hit"), Markup().join(bars))


def _grid(top: float) -> Markup:
    lines = []
    for share in (0, 0.5, 1):
        y = HEIGHT - BOTTOM - HIGH * share
        value = top * share
        lines.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH, y, y))
        lines.append(_text(LEFT - 6, y + 4, f"{value:,.0f}" if value == ceil(value) else f"{value:g}", "end"))
    return Markup().join(lines)


def _rect(x: float, y: float, wide: float, tall: float, kind: str, inside: str = "") -> Markup:
    return Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">{}</rect>').format(
        kind, x, y, wide, tall, inside
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _clock(x: float, y: float, moment: datetime, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" data-clock="{}">{:%H:%M} UTC</text>').format(
        x, y, anchor, moment.isoformat(), moment
    )


def _svg(title: str, wide: int, tall: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        wide, tall, escape(title), Markup().join(parts)
    )
