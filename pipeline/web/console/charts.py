"""Charts as SVG, out of plain numbers: no script, no styles of their own, colours from the page's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 150
LEFT, BOTTOM, TOP = 40, 20, 8


@dataclass(frozen=True)
class Series:
    """One row of numbers, drawn in the colour of the class `kind`."""

    name: str
    kind: str
    values: Sequence[float]


def columns(title: str, labels: Sequence[str], series: Sequence[Series], unit: str = "") -> Markup:
    """Stacked columns over time, a scale on the left, and first and last label below.

    Every column has its numbers as a tooltip; the whole is summed up in words for those who do not see it.
    """
    top = nice(max((sum(column) for column in zip(*(each.values for each in series), strict=True)), default=0))
    step = (WIDTH - LEFT) / max(1, len(labels))
    high = HEIGHT - BOTTOM - TOP
    parts = [_grid(top, high)]
    for index, label in enumerate(labels):
        x, y = LEFT + index * step, float(HEIGHT - BOTTOM)
        bars, told = [], []
        for each in series:
            value = each.values[index]
            tall = high * value / top
            y -= tall
            told.append(f"{value:,.0f} {each.name}")
            if tall:
                bars.append(_rect(x + step * 0.1, y, step * 0.8, tall, f"bar {each.kind}"))
        hit = _rect(x, TOP, step, high, "hit")
        parts.append(
            Markup("<g><title>{}: {}</title>{}{}</g>").format(label, ", ".join(told), hit, Markup().join(bars))
        )
    if labels:
        parts += [_text(LEFT, HEIGHT - 4, labels[0], "start"), _text(WIDTH, HEIGHT - 4, labels[-1], "end")]
    sums = ", ".join(f"{sum(each.values):,.0f} {each.name}" for each in series)
    return _svg(f"{title}: {sums}{' ' + unit if unit else ''} in all", WIDTH, HEIGHT, parts)


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


def line(title: str, values: Sequence[float]) -> Markup:
    """A small line without a scale, for beside a number."""
    if len(values) < 2:
        return Markup()
    top = max(values) or 1
    points = " ".join(f"{100 * i / (len(values) - 1):.1f},{22 - 20 * v / top:.1f}" for i, v in enumerate(values))
    return Markup(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polyline points="{}"/></svg>'
    ).format(title, points)


def nice(most: float) -> float:
    """The end of a scale: the next of 1, 2, 2.5, 5 times a power of ten (2 at least)."""
    if most <= 2:
        return 2.0
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= most)


def _grid(top: float, high: float) -> Markup:
    lines = []
    for share in (0, 0.5, 1):
        y = HEIGHT - BOTTOM - high * share
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


def _svg(title: str, wide: int, tall: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        wide, tall, escape(title), Markup().join(parts)
    )
