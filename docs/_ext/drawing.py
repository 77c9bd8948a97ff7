"""What the pictures of the front page have in common: a palette for each scheme, and SVG."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif"


@dataclass(frozen=True)
class Palette:
    """The colours of a scheme."""

    scheme: str
    ink: str
    faint: str  # what is less important than ink
    paper: str
    line: str
    ours: str
    others: str
    bad: str


LIGHT = Palette(
    "light", "#1f2328", "#59636e", "#ffffff", "#c6cdd5", "#2a5adf", "#b4bcc6", "#cf222e"
)
DARK = Palette("dark", "#e6edf3", "#9198a1", "#161b22", "#3d444d", "#79a3ff", "#59636e", "#ff7b72")
PALETTES = (LIGHT, DARK)


def svg(width: int, height: int, title: str, parts: list[str], style: str = "") -> str:
    """Return a picture: `title` is what those are told who do not see it."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{FONT}">'
    )
    style = f"<style>{style}</style>" if style else ""
    return "\n".join([head, f"<title>{escape(title)}</title>{style}", *parts, "</svg>\n"])


def text(x: float, y: float, words: str, colour: str, size: int = 15, **attributes: object) -> str:
    """Return a line of text; `text_anchor="end"` and the like are attributes."""
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}"{_written(attributes)}>'
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, **attributes: object) -> str:
    """Return a rectangle."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{_written(attributes)}/>'
    )


def dot(x: float, y: float, radius: float, **attributes: object) -> str:
    """Return a circle."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}"{_written(attributes)}/>'


def path(steps: str, **attributes: object) -> str:
    """Return a path."""
    return f'<path d="{steps}"{_written(attributes)}/>'


def _written(attributes: dict[str, object]) -> str:
    return "".join(
        f' {name.rstrip("_").replace("_", "-")}="{value}"' for name, value in attributes.items()
    )
