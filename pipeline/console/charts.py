"""Charts as SVG, without scripts and inline styles; CSS classes set the colors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, log10

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 150
LEFT, BOTTOM, TOP = 40, 20, 8
PLOT_HEIGHT = HEIGHT - BOTTOM - TOP
COLOR_CLASSES = ("c1", "c6", "c3", "c4", "c5", "c7", "c8")
"""Neutral colors for the parts of a whole; `c2` is the color of failures."""


@dataclass(frozen=True)
class Series:
    """A series of numbers, and the CSS class of its color."""

    name: str
    color: str
    values: Sequence[float]


def columns(title: str, moments: Sequence[datetime], series: Sequence[Series]) -> Markup:
    """Draw stacked columns over time, with a scale on the left.

    Times are in UTC; a script converts them to the viewer's time zone. Each column has a tooltip with its numbers, and
    a text alternative gives the sums.
    """
    top = round_up(max((sum(column) for column in zip(*(each.values for each in series), strict=True)), default=0))
    step = (WIDTH - LEFT) / max(1, len(moments))
    parts = [_grid(top), *(_column(index, step, moment, series, top) for index, moment in enumerate(moments))]
    ends = ((LEFT, "start", moments[0]), (WIDTH, "end", moments[-1])) if moments else ()
    parts += [_clock(x, HEIGHT - 4, moment, anchor) for x, anchor, moment in ends]
    sums = ", ".join(f"{sum(each.values):,.0f} {each.name}" for each in series)
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, escape(f"{title}: {sums} in total"), Markup().join(parts)
    )


def bar(title: str, parts: Sequence[tuple[str, str, float]]) -> Markup:
    """Draw one bar, divided by (name, color class, amount)."""
    total = sum(amount for _, _, amount in parts)
    x, rectangles = 0.0, []
    for name, color, amount in parts:
        if total and amount:
            width = 100 * amount / total
            tooltip = Markup("<title>{}: {:,g}</title>").format(name, round(amount, 1))
            rectangles.append(_rect(x, 0, width, 8, f"part {color}", tooltip))
            x += width
    label = ", ".join(f"{name} {amount:,g}" for name, _, amount in parts)
    content = Markup().join(rectangles) or _rect(0, 0, 100, 8, "part none")
    return Markup(
        '<svg class="split" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(f"{title}: {label}", content)


def timeline(title: str, spans: Sequence[tuple[str, str, float, float]]) -> Markup:
    """Draw spans (name, color class, start and duration in milliseconds), one row for each name, in order of start."""
    names = list(dict.fromkeys(name for name, _, _, _ in spans))
    total = max((start + length for _, _, start, length in spans), default=0) or 1
    rectangles = []
    for name, color, start, length in spans:
        tooltip = Markup("<title>{}: {:,.0f} ms, starts at {:,.0f} ms</title>").format(name, length, start)
        width = max(length / total * 100, 0.4)
        x = min(start / total * 100, 100 - width)
        rectangles.append(_rect(x, names.index(name) * 10 + 1, width, 8, color, tooltip))
    label = ", ".join(f"{name} {length:,.0f} ms" for name, _, _, length in spans)
    return Markup(
        '<svg class="timeline" viewBox="0 0 100 {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(len(names) * 10, f"{title}: {label}", Markup().join(rectangles))


def round_up(value: float) -> float:
    """Return the end of a scale: the next of 1, 2, 2.5 and 5 times a power of ten, at least 2."""
    if value <= 2:
        return 2.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)


def _column(index: int, step: float, moment: datetime, series: Sequence[Series], top: float) -> Markup:
    x, y = LEFT + index * step, float(HEIGHT - BOTTOM)
    rectangles, label = [], ", ".join(f"{each.values[index]:,.0f} {each.name}" for each in series)
    for each in series:
        height = PLOT_HEIGHT * each.values[index] / top
        y -= height
        if height:
            rectangles.append(_rect(x + step * 0.1, y, step * 0.8, height, f"bar {each.color}"))
    tooltip = Markup('<title data-clock="{}" data-suffix=": {}">{:%H:%M} UTC: {}</title>').format(
        moment.isoformat(), label, moment, label
    )
    return Markup("<g>{}{}{}</g>").format(tooltip, _rect(x, TOP, step, PLOT_HEIGHT, "hit"), Markup().join(rectangles))


def _grid(top: float) -> Markup:
    lines = []
    for share in (0, 0.5, 1):
        y = HEIGHT - BOTTOM - PLOT_HEIGHT * share
        value = top * share
        lines.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH, y, y))
        lines.append(_text(LEFT - 6, y + 4, f"{value:,.0f}" if value == ceil(value) else f"{value:g}", "end"))
    return Markup().join(lines)


def _rect(x: float, y: float, width: float, height: float, css_class: str, content: str = "") -> Markup:
    return Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">{}</rect>').format(
        css_class, x, y, width, height, content
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _clock(x: float, y: float, moment: datetime, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" data-clock="{}">{:%H:%M} UTC</text>').format(
        x, y, anchor, moment.isoformat(), moment
    )
