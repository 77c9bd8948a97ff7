"""The report of a recording: one page of HTML that needs nothing else, and asks nobody.

It may be mailed: what it shows is in it. Its content security policy forbids every request, and
any program or style but its own two, which it names by their hashes. Names of functions, types
and messages are text, whatever they contain: escaped here, and set as text there.

All but the timeline is still, and is seen without a program, and on paper.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Final

from aplex._observe.crew import Crew, Member
from aplex._observe.drawing import area, bars, short
from aplex._observe.figures import PER_DECADE, Figures, histogram, percentile
from aplex._observe.history import LOST, OUTCOMES, UNKNOWN, History
from aplex._observe.names import writable
from aplex._observe.summary import caveats, seconds
from aplex._observe.timeline import timeline
from aplex._observe.verdict import verdict

MOST_FUNCTIONS: Final = 200
MOST_DEATHS: Final = 100
LONGEST: Final = 300
"""Characters of a cell."""
_HERE: Final = Path(__file__).parent


def report(history: History, crew: Crew) -> str:
    """Return the page."""
    figures = Figures(history, crew)
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    program = (_HERE / "report.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(program)}; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"aplex: {figures.history.tape.head['pool']}"
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(title)}</title><style>{style}</style></head><body><main>",
            *_body(figures),
            '</main><script type="application/json" id="data">',
            _json(_data(figures)),
            f"</script><script>{program}</script></body></html>\n",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """Return JSON in which nothing ends the element that holds it."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(figures: Figures) -> dict[str, Any]:
    """Return what the program draws."""
    events = figures.history.tape.events()
    deaths = [
        [_since(figures, member.gone or 0), member.slot, _cause(member), member.worker]
        for member in figures.crew.deaths()
    ]
    return {
        **timeline(figures),
        "texts": figures.history.tape.names,
        "outcomeTexts": OUTCOMES,
        "wall": figures.wall,
        "functions": [each.name for each in figures.functions[:12]],
        "deaths": deaths,
        "marks": [
            [_since(figures, time), more[0]] for time, word, *more in events if word == "mark"
        ],
    }


def _since(figures: Figures, time: int) -> float:
    return max(0.0, (time - figures.start) / 1e9)


# -- the page ---------------------------------------------------------------------------------


def _body(figures: Figures) -> Iterator[str]:
    head = figures.history.tape.head
    when = datetime.fromtimestamp(head.get("wall", 0), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield (
        f"<header><h1>{_text(head['pool'])}</h1><p>{when} · {seconds(figures.wall)} · "
        f"Python {_text(head.get('python', '?'))} · aplex {_text(head.get('aplex', '?'))}</p>"
        "</header>"
    )
    yield from _notes(head)
    yield from _tiles(figures)
    yield from _verdict(figures)
    yield (
        '<section id="timeline"><h2>Timeline</h2><p class="hint">A row for each slot: functions, '
        "and coroutines below. Wheel or + and &minus;: zoom; drag or arrows: move; 0: all.</p>"
        '<div id="chart"><canvas tabindex="0" role="img" aria-label="What ran in each slot, and '
        'when"></canvas><div id="tip" hidden></div></div><div id="legend"></div>'
        "<noscript><p>The timeline needs JavaScript; all else is here without.</p></noscript>"
        "</section>"
    )
    yield from _charts(figures)
    yield from _functions(figures)
    yield from _failures(figures)
    yield from _deaths(figures)
    yield from _slowest(figures)


def _text(value: object) -> str:
    """Escape a text, and keep its direction to itself."""
    text = writable(str(value))
    return f"<bdi>{escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + '…')}</bdi>"


def _notes(head: dict[str, Any]) -> Iterator[str]:
    lines = list(caveats(head))
    if lines:
        told = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f'<ul class="notes">{told}</ul>'


def _tiles(figures: Figures) -> Iterator[str]:
    failed, deaths = sum(each.count for each in figures.failures), len(figures.crew.deaths())
    rate = figures.finished / figures.wall
    tiles = [
        ("works", f"{figures.works:,}", ""),
        ("works per second", short(rate), ""),
        ("failed", f"{failed:,}", "bad" if failed else ""),
        ("run again", f"{figures.outcomes[LOST]:,}", "warn" if figures.outcomes[LOST] else ""),
        ("deaths", f"{deaths:,}", "bad" if deaths else ""),
        ("slots", f"{len(figures.slots):,}", ""),
        ("busy", f"{min(1.0, figures.share_busy):.0%}", ""),
        ("waited, half of them", seconds(percentile(figures.waits, 0.5)), ""),
        ("ran, half of them", seconds(percentile(figures.runs, 0.5)), ""),
    ]
    if figures.unfinished:
        tiles.append(("not ended", f"{figures.unfinished:,}", "warn"))
    told = "".join(
        f'<div class="tile {kind}"><b>{value}</b><span>{name}</span></div>'
        for name, value, kind in tiles
    )
    yield f'<section class="tiles">{told}</section>'


def _verdict(figures: Figures) -> Iterator[str]:
    lines = "".join(
        f'<li class="{line.weight}">{_text(line.text)}'
        + (f" <em>{_text(line.advice)}</em>" if line.advice else "")
        + "</li>"
        for line in verdict(figures)
    )
    yield f'<section><h2>Verdict</h2><ul class="verdict">{lines}</ul></section>'


def _charts(figures: Figures) -> Iterator[str]:
    counts, factor = figures.counts, 10 ** (1 / PER_DECADE)
    rates = [ended * 1e9 / counts.step for ended in counts.ended]
    charts = (
        ("Waiting, from submit to begin", _told(figures.waits),
         bars("Waiting", *histogram(figures.waits), factor)),
        ("Running", _told(figures.runs), bars("Running", *histogram(figures.runs), factor)),
        ("Works that ended, per second", f"{short(figures.finished / figures.wall)} on the average",
         area("Throughput", rates, figures.wall, "works/s")),
        ("Works that waited", f"{max(counts.waiting, default=0):,} at most",
         area("Works that waited", counts.waiting, figures.wall, "works")),
    )  # fmt: skip
    told = "".join(
        f"<figure><figcaption>{name} <span>{escape(more)}</span></figcaption>{chart}</figure>"
        for name, more, chart in charts
    )
    yield f'<section class="charts"><h2>Distributions</h2><div>{told}</div></section>'


def _told(values: Sequence[float]) -> str:
    if not values:
        return ""
    shares = ((0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"))
    told = [f"{name} below {seconds(percentile(values, share))}" for share, name in shares]
    return f"{', '.join(told)}, most {seconds(values[-1])}"


def _functions(figures: Figures) -> Iterator[str]:
    heads = (
        *("function", "works", "failed", "cancelled", "run again", "waited 50 %", "waited 99 %"),
        *("ran 50 %", "ran 99 %", "ran most", "ran in all"),
    )
    rows = [
        (
            each.name,
            *(f"{each.count:,}", f"{each.failed:,}", f"{each.cancelled:,}", f"{each.lost:,}"),
            seconds(percentile(each.waits, 0.5)) if each.waits else "",
            seconds(percentile(each.waits, 0.99)) if each.waits else "",
            seconds(percentile(each.runs, 0.5)) if each.runs else "",
            seconds(percentile(each.runs, 0.99)) if each.runs else "",
            seconds(each.runs[-1]) if each.runs else "",
            seconds(each.total) if each.runs else "",
        )
        for each in figures.functions[:MOST_FUNCTIONS]
    ]
    yield from _table("Functions", heads, rows, len(figures.functions))


def _failures(figures: Figures) -> Iterator[str]:
    rows = [
        (
            each.name,
            each.error,
            f"{each.count:,}",
            each.message or "(not recorded: messages=True)",
            ", ".join(map(str, each.numbers)) + (", …" if each.count > len(each.numbers) else ""),
        )
        for each in figures.failures[:MOST_FUNCTIONS]
    ]
    if rows:
        heads = ("function", "error", "works", "the first said", "numbers of works")
        yield from _table("Failures", heads, rows, len(figures.failures), texts=(0, 1, 3, 4))


def _deaths(figures: Figures) -> Iterator[str]:
    deaths = figures.crew.deaths()
    rows = [
        (
            f"{_since(figures, member.gone or 0):.3f} s",
            str(member.slot),
            str(member.worker),
            str(member.pid or ""),
            str(member.certificate.get("summary") or _cause(member)),
        )
        for member in deaths[:MOST_DEATHS]
    ]
    if rows:
        heads = ("when", "slot", "worker", "process", "how")
        yield from _table("Deaths", heads, rows, len(deaths), texts=(4,))
        for member in deaths[:MOST_DEATHS]:
            if stack := member.certificate.get("stack"):
                told = f"The last stack of worker {member.worker}"
                yield f"<details><summary>{told}</summary><pre>{escape(str(stack))}</pre></details>"


def _cause(member: Member) -> str:
    told = member.certificate
    if "start_failed" in told:
        return f"failed to start: {told['start_failed']}"
    return str(told.get("cause") or "ended")


def _slowest(figures: Figures) -> Iterator[str]:
    history, texts = figures.history, figures.history.tape.names
    rows: list[tuple[str, ...]] = []
    slots = figures.crew.slots()
    for at in figures.slowest:
        began, submitted = history.began[at], history.submitted[at]
        rows.append(
            (
                texts[history.names[at]],
                str(history.ids[at]),
                str(history.attempts[at]),
                seconds((figures.end_of(at) - began) / 1e9),
                seconds((began - submitted) / 1e9) if submitted != UNKNOWN else "",
                str(slots.get(history.workers[at], "")),
                OUTCOMES[history.outcomes[at]],
                texts[history.errors[at]],
            )
        )
    if rows:
        heads = ("function", "number", "attempt", "ran", "waited", "slot", "outcome", "error")
        yield from _table("Slowest works", heads, rows, len(rows), texts=(0, 6, 7))


def _table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    count: int,
    texts: Iterable[int] = (0,),
) -> Iterator[str]:
    """Make a table; the columns of ``texts`` are texts, the others figures."""
    left = set(texts)
    kinds = ["" if at in left else ' class="n"' for at in range(len(heads))]
    head = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, heads, strict=True))
    yield f'<section><h2>{title}</h2><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>'
    for row in rows:
        cells = zip(kinds, row, strict=True)
        yield f"<tr>{''.join(f'<td{kind}>{_text(cell)}</td>' for kind, cell in cells)}</tr>"
    yield "</tbody></table></div>"
    if count > len(rows):
        yield f'<p class="hint">… and {count - len(rows):,} more.</p>'
    yield "</section>"
