"""The charts of the front page: bars from saved figures, and the scoreboard as a board of squares.

Nothing here knows a figure: see `front_page.py`, which reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import drawing
from drawing import Palette

WIDTH = 480
LABELS = 176  # pixels, to the left of what is drawn
ROW = 26


@dataclass(frozen=True)
class Bar:
    """A library, or a yardstick, and its figure."""

    label: str
    value: float
    shown: str
    kind: str  # "ours", "theirs" or "yardstick"


@dataclass(frozen=True)
class Standing:
    """A library, and for each fault whether it was ok."""

    label: str
    ok: Sequence[bool]
    ours: bool


def bars(palette: Palette, title: str, drawn: Sequence[Bar]) -> str:
    """Return bars that begin at zero."""
    longest = max(bar.value for bar in drawn)
    room = WIDTH - LABELS - 84  # the last is for the figure
    parts = []
    for place, bar in enumerate(drawn):
        y = 4 + ROW * place
        length = max(1.5, room * bar.value / longest)
        colour = palette.ours if bar.kind == "ours" else palette.others
        outline = {"fill_opacity": 0, "stroke": colour, "stroke_dasharray": "4 3"}
        how = outline if bar.kind == "yardstick" else {}
        ink = palette.ink if bar.kind == "ours" else palette.faint
        weight = 700 if bar.kind == "ours" else 400
        at = y + 15
        parts += [
            drawing.text(LABELS - 8, at, bar.label, ink, text_anchor="end", font_weight=weight),
            drawing.box(LABELS, y + 2, length, ROW - 9, rx=2, fill=colour, **how),
            drawing.text(LABELS + length + 7, at, bar.shown, ink, font_weight=weight),
        ]
    told = ", ".join(f"{bar.label} {bar.shown}" for bar in drawn)
    return drawing.svg(WIDTH, 8 + ROW * len(drawn), f"{title}: {told}", parts)


def board(palette: Palette, title: str, drawn: Sequence[Standing]) -> str:
    """Return a row of squares for each library, one for each fault: filled if it was ok."""
    step = (WIDTH - LABELS - 66) / max(len(standing.ok) for standing in drawn)
    parts = []
    for place, standing in enumerate(drawn):
        y = 4 + ROW * place
        ink = palette.ink if standing.ours else palette.faint
        weight = 700 if standing.ours else 400
        parts.append(
            drawing.text(
                LABELS - 8, y + 15, standing.label, ink, text_anchor="end", font_weight=weight
            )
        )
        for column, ok in enumerate(standing.ok):
            parts += _square(palette, LABELS + step * column, y + 4, step - 2, ok=ok)
        parts.append(
            drawing.text(
                WIDTH - 2, y + 15, _count(standing), ink, text_anchor="end", font_weight=weight
            )
        )
    told = ", ".join(f"{standing.label} {_count(standing)}" for standing in drawn)
    return drawing.svg(WIDTH, 8 + ROW * len(drawn), f"{title}: {told}", parts)


def _square(palette: Palette, x: float, y: float, size: float, *, ok: bool) -> list[str]:
    """Return a filled square, or a cross."""
    if ok:
        return [drawing.box(x, y, size, ROW - 12, rx=1.5, fill=palette.ours)]
    low, high = y + 3, y + ROW - 15
    cross = f"M{x + 1.5:g} {low:g}L{x + size - 1.5:g} {high:g}M{x + 1.5:g} {high:g}"
    cross += f"L{x + size - 1.5:g} {low:g}"
    return [drawing.path(cross, stroke=palette.bad, stroke_width=2)]


def _count(standing: Standing) -> str:
    return f"{sum(standing.ok)} / {len(standing.ok)}"
