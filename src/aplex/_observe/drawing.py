"""Small still charts as inline SVG, coloured by the style of the page. Logic only."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from aplex._observe.summary import seconds

WIDTH: Final = 560
HEIGHT: Final = 170
_LEFT: Final = 52
_RIGHT: Final = 10
_TOP: Final = 10
_BOTTOM: Final = 24
_BASE: Final = HEIGHT - _BOTTOM
_SPACE: Final = 62
"""Width that a label below takes."""


def bars(title: str, lows: Sequence[float], counts: Sequence[int], factor: float) -> str:
    """Draw a histogram over durations, with equal widths for equal factors.

    Args:
        title: For those who do not see it.
        lows: Lower bounds of the buckets, in seconds.
        counts: How many are in each.
        factor: By which each bound is more than the one before.
    """
    if not counts:
        return _nothing(title)
    most = _nice(max(counts))
    width = (WIDTH - _LEFT - _RIGHT) / len(counts)
    parts = _axis(most, "")
    for at, (low, count) in enumerate(zip(lows, counts, strict=True)):
        left, height = _LEFT + at * width, _height(count, most)
        told = f"{seconds(low)} to {seconds(low * factor)}: {count:,}"
        parts.append(
            f'<rect class="bar" x="{left + 0.5:.1f}" y="{_BASE - height:.1f}" '
            f'width="{max(0.5, width - 1):.1f}" height="{height:.1f}">'
            f"<title>{escape(told)}</title></rect>"
        )
    every = max(1, -(-_SPACE // max(1, int(width))))
    for at in range(0, len(lows), every):
        parts.append(_label(_LEFT + at * width, seconds(lows[at]), "start"))
    return _svg(title, parts)


def area(title: str, values: Sequence[float], wall: float, unit: str) -> str:
    """Draw how something went, from the begin of the recording to its end.

    Args:
        title: For those who do not see it.
        values: At equal distances.
        wall: Seconds from the first to the last.
        unit: Of the values.
    """
    if not values or max(values) <= 0:
        return _nothing(title)
    most = _nice(max(values))
    width = (WIDTH - _LEFT - _RIGHT) / len(values)
    points = [f"{_LEFT:.1f},{_BASE}"]
    for at, value in enumerate(values):
        y = _BASE - _height(value, most)
        points += [f"{_LEFT + at * width:.1f},{y:.1f}", f"{_LEFT + (at + 1) * width:.1f},{y:.1f}"]
    points.append(f"{WIDTH - _RIGHT:.1f},{_BASE}")
    parts = [f'<polygon class="area" points="{" ".join(points)}"/>', *_axis(most, unit)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + share * (WIDTH - _LEFT - _RIGHT)
        anchor = "end" if share == 1.0 else "start"
        parts.append(_label(x, seconds(wall * share) if share else "0", anchor))
    return _svg(title, parts)


def _axis(most: float, unit: str) -> list[str]:
    parts: list[str] = []
    for share in (0.0, 0.5, 1.0):
        y = _BASE - share * (_BASE - _TOP)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(short(most * share))}</text>"
        )
    if unit:
        parts.append(f'<text class="tick" x="{_LEFT + 4}" y="{_TOP + 8}">{escape(unit)}</text>')
    return parts


def _label(x: float, text: str, anchor: str) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_BASE}" y2="{_BASE + 4}"/>'
        f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def _nothing(title: str) -> str:
    place = f'x="{WIDTH / 2}" y="{HEIGHT / 2}"'
    text = f'<text class="tick" {place} text-anchor="middle">nothing to show</text>'
    return _svg(title, [text])


def _height(value: float, most: float) -> float:
    """Return the height of a value; what is more than nothing is seen."""
    return max(1.0, value / most * (_BASE - _TOP)) if value > 0 else 0.0


def _nice(most: float) -> float:
    """Return a round number that is not less."""
    size = 1.0
    while size * 10 <= most:
        size *= 10
    while size > most:
        size /= 10
    return next(size * step for step in (1, 2, 4, 6, 8, 10, 20) if size * step >= most)


def short(value: float) -> str:
    """Return a number in few characters."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
