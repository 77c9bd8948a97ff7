"""The report of a recording: its figures, its verdict, and the page in a real browser."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import aplex
from aplex import Recording
from aplex._observe.crew import Crew
from aplex._observe.drawing import area, bars, short
from aplex._observe.figures import Figures, histogram, percentile
from aplex._observe.history import History
from aplex._observe.report import report
from aplex._observe.summary import seconds
from aplex._observe.tape import DONE, ENDED, ERROR, SENT, SUBMITTED, Block, Tape, row
from aplex._observe.timeline import MOST_SPANS, timeline
from aplex._observe.verdict import verdict
from tests.observe.recorded import WORKS, eventful
from tests.support.browser import browser

SECOND = 10**9
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>alert(1)</script>",
    "\u202egnp.exe\u202c",
    "a" * 5000,
    "&lt;b&gt;\"'`${alert(1)}",
    "\x00\x07\ud800 half",
    "http://example.invalid/x.js",
]


def tape_of(count: int, names: list[str], *, run: int = 1000, slots: int = 2) -> Tape:
    """Make a recording: functions one after another in each slot, each failing in turn."""
    names = ["", "(others)", "ValueError", *names]
    block = Block(works=count)
    for slot in range(slots):
        block.events += [(0, "spawned", slot + 1, slot), (1, "ready", slot + 1, 100 + slot)]
    now, most = 1000, len(names) - 3
    for first in range(0, count, 100):
        ids = list(range(first + 1, min(first + 100, count) + 1))
        worker = 1 + first // 100 % slots
        block.log += row(now, SUBMITTED, 0, 0, 0, ids[:1])
        block.log += row(now, SENT, 1, worker, 3 + first // 100 % most, ids)
        times: list[int] = []
        for work_id in ids:
            now += run
            times += [work_id, now]
        now += run
        block.log += row(now + 10, DONE, 1, worker, 0, [*times, now])
    head = {"pool": names[3], "size": slots, "wall": 0.0, "started": 0, "ended": now + SECOND}
    return Tape(head, names, [block])


def page_of(tape: Tape) -> str:
    return report(History(tape), Crew(tape.events()))


class Page(HTMLParser):
    """Elements, their attributes, and the text outside of programs and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.raw = ""
        self.data = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        self.raw = tag if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if not self.raw:
            self.text.append(data)
        elif data.startswith("{"):
            self.data = data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return eventful(tmp_path_factory.mktemp("run") / "run.aplex")


@pytest.fixture(scope="module")
def path(run: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report") / "run.html"
    run.report(made)
    return made


# -- figures -----------------------------------------------------------------------------------


def test_durations_are_told_as_people_read_them() -> None:
    told = [seconds(value) for value in (0, 5e-9, 1.5e-6, 0.0123, 1, 59.94, 12345)]
    assert told == ["0 ns", "5 ns", "1.5 µs", "12.3 ms", "1 s", "59.9 s", "12,345 s"]
    assert [short(value) for value in (0.5, 1234, 2_500_000)] == ["0.5", "1.23k", "2.5M"]


def test_percentiles_are_values_that_are_there() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [51, 100, 100]
    assert percentile([], 0.5) == 0


def test_histograms_have_all_values_once() -> None:
    lows, counts = histogram([0.0, 1e-6, 0.001, 0.0011, 1.0])
    assert sum(counts) == 5
    assert lows == sorted(lows)
    assert histogram([]) == ([], [])
    assert len(histogram([1.0])[0]) >= 16


def test_charts_of_nothing_say_so() -> None:
    assert "nothing to show" in bars("Chart", [], [], 2)
    assert "nothing to show" in area("Chart", [0, 0], 1.0, "works")
    assert "1 s to 2 s: 1" in bars("Chart", [1.0], [1], 2)


def test_slots_are_busy_as_long_as_anything_runs_there() -> None:
    tape = tape_of(200, ["one", "two"], run=SECOND // 100)
    figures = Figures(History(tape), Crew(tape.events()))
    assert figures.busy_of == {0: pytest.approx(1.0), 1: pytest.approx(1.0)}
    assert sum(figures.busy) * figures.counts.step / 1e9 == pytest.approx(2.0)
    assert [(each.name, each.count) for each in figures.functions] == [("one", 100), ("two", 100)]


def test_many_short_works_are_merged_and_counted() -> None:
    count = MOST_SPANS + 10_000
    tape = tape_of(count, ["one", "two"], run=1_000)
    told = timeline(Figures(History(tape), Crew(tape.events())))
    assert sum(spans for _, _, spans in told["tracks"]) < MOST_SPANS
    import base64

    assert sum(array("I", base64.b64decode(told["counts"]))) == count
    assert told["merged"] > 0


def lines_of(tape: Tape) -> str:
    return " ".join(line.text for line in verdict(Figures(History(tape), Crew(tape.events()))))


def test_the_verdict_names_what_stands_out(run: Recording) -> None:
    history, crew = run._played()
    told = " ".join(line.text for line in verdict(Figures(history, crew)))
    assert f"4 of {WORKS} works failed" in told
    assert "most often tests.support.works.fail by ValueError (3 times)" in told
    assert "2 workers died: was killed by SIGKILL (2 times)" in told
    assert "1 run was lost with its worker" in told


def test_the_verdict_knows_short_works_and_idle_workers() -> None:
    assert "Half of the works ran less than 1 µs" in lines_of(tape_of(1000, ["one"]))
    assert "Workers were busy only" in lines_of(tape_of(1000, ["one"]))
    good = tape_of(20, ["one"], run=SECOND, slots=1)
    assert lines_of(good).startswith("Nothing stands out")


# -- the page ----------------------------------------------------------------------------------


def test_the_page_tells_all_that_it_should(path: Path) -> None:
    page = Page(path.read_text(encoding="utf-8"))
    text = " ".join(page.text)
    for word in ("Verdict", "Timeline", "Distributions", "Functions", "Failures", "Deaths"):
        assert word in text
    for word in ("Slowest works", "tests.support.works.aspan", "bad 0", "was killed by SIGKILL"):
        assert word in text
    data = json.loads(page.data)
    assert len(data["deaths"]) == 2
    assert [mark[1] for mark in data["marks"]] == ["deaths"]


def test_the_page_names_nothing_outside_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not {name for name, _ in page.attributes} & {"src", "href", "srcset", "action", "style"}
    assert not {name for name, _ in page.attributes if name.startswith("on")}
    assert not re.search(r"@import|url\(|https?:", text)
    [policy] = [value for name, value in page.attributes if value and "default-src" in value]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_hostile_names_stay_text() -> None:
    plain, hostile = Page(page_of(tape_of(700, ["f"]))), Page(page_of(tape_of(700, HOSTILE)))
    extra = hostile.tags - plain.tags
    assert set(extra) <= {"tr", "td", "bdi", "li", "em", "p"}
    texts = json.loads(hostile.data)["texts"]
    assert HOSTILE[0] in texts
    assert HOSTILE[0] in "".join(hostile.text)
    assert hostile.tags["script"] == plain.tags["script"] == 2


def test_a_recording_of_nothing_and_one_that_was_cut_off_have_reports() -> None:
    with aplex.ThreadAsyncPoolExecutor(1) as pool, pool.record() as run:
        pass
    history, crew = run._played()
    assert "Nothing stands out" in report(history, crew)
    cut = tape_of(100, ["one"])
    del cut.head["ended"]
    cut.head.update(cut=True, dropped=7, limit=100)
    text = page_of(cut)
    assert "7 works were dropped" in text
    assert "the recording was cut off" in text


def test_failures_are_grouped_with_their_numbers() -> None:
    tape = tape_of(100, ["one"])
    log = tape.blocks[0].log
    tape.names.append("it was bad")
    for work_id in range(1, 13):
        log += row(5000, ERROR, 0, 1, 2, (work_id, len(tape.names) - 1))
        log += row(5000, ENDED, 2, 0, 0, (work_id, 3))
    figures = Figures(History(tape), Crew(tape.events()))
    [group] = figures.failures
    assert (group.name, group.error, group.count) == ("one", "ValueError", 12)
    assert group.message == "it was bad"
    assert group.numbers == list(range(1, 11))


# -- in a browser ------------------------------------------------------------------------------


def opened(chromium: Any, path: Path, scheme: str = "light") -> tuple[Any, list[str], list[str]]:
    """Open a page; return it, what its console says, and what it asks for."""
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri(), wait_until="load")
    return page, said, asked


COLOURS = """() => {
  const canvas = document.querySelector('canvas');
  const context = canvas.getContext('2d');
  const data = context.getImageData(90, 20, canvas.width - 100, canvas.height - 30).data;
  const found = {};
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] > 250) {
      const key = [data[at], data[at + 1], data[at + 2]].join();
      found[key] = (found[key] || 0) + 1;
    }
  }
  return found;
}"""
PAPER = "() => getComputedStyle(document.body).backgroundColor"


@pytest.mark.timeout(170)
def test_the_page_asks_nobody_and_is_drawn_in_light_and_dark(path: Path, tmp_path: Path) -> None:
    with browser() as chromium:
        drawn: dict[str, Any] = {}
        for scheme in ("light", "dark"):
            page, said, asked = opened(chromium, path, scheme)
            assert said == []
            assert asked == [path.as_uri()]
            colours = page.evaluate(COLOURS)
            assert max(colours.values()) > 200  # spans
            drawn[scheme] = page.evaluate(PAPER), frozenset(colours)
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 1280
        assert drawn["light"][0] != drawn["dark"][0]
        assert drawn["light"][1] != drawn["dark"][1]


@pytest.mark.timeout(170)
def test_the_timeline_zooms_and_tells_what_is_under_the_pointer(tmp_path: Path) -> None:
    tape = tape_of(40, ["first", "second"], run=SECOND, slots=1)
    path = tmp_path / "zoom.html"
    path.write_text(page_of(tape), encoding="utf-8")
    with browser() as chromium:
        page, said, _ = opened(chromium, path)
        box = page.locator("canvas").bounding_box()
        tip = page.locator("#tip")

        def told(x: float) -> str:
            page.mouse.move(box["x"] + x, box["y"] + 31)
            return str(tip.text_content())

        before = told(600)
        assert re.search(r"first\nwork \d+\ndone, ran 1 s, waited", before)
        page.mouse.wheel(0, -2000)
        page.wait_for_timeout(100)
        assert told(601) == before  # what is under the pointer stays there
        assert told(300) != ""
        near = told(700)
        assert near == before  # it has grown
        page.keyboard.press("Tab")
        page.locator("canvas").focus()
        page.keyboard.press("0")
        page.wait_for_timeout(100)
        assert told(115).startswith("first\nwork 1\n")
        assert said == []


@pytest.mark.timeout(170)
def test_hostile_names_run_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page_of(tape_of(700, HOSTILE)), encoding="utf-8")
    with browser() as chromium:
        page, said, asked = opened(chromium, path)
        page.mouse.move(600, 500)
        assert said == []
        assert asked == [path.as_uri()]
        assert HOSTILE[0] in page.locator("#legend").text_content()
        assert page.locator("img").count() == 0


@pytest.mark.timeout(170)
def test_a_hundred_thousand_works_are_a_small_page_that_is_soon_there(tmp_path: Path) -> None:
    path = tmp_path / "big.html"
    path.write_text(page_of(tape_of(100_000, ["one", "two", "three"], run=10_000)), "utf-8")
    assert path.stat().st_size <= 4_000_000
    with browser() as chromium:
        page, said, _ = opened(chromium, path)
        assert said == []
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        paint = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
        assert page.evaluate(paint) < 10_000  # milliseconds; the bound is the benchmark's


@pytest.mark.timeout(170)
def test_sixty_four_slots_are_readable(tmp_path: Path) -> None:
    path = tmp_path / "many.html"
    path.write_text(page_of(tape_of(12_800, ["one"], run=100_000, slots=64)), encoding="utf-8")
    with browser() as chromium:
        page, said, _ = opened(chromium, path)
        assert said == []
        height = page.evaluate("() => document.querySelector('canvas').clientHeight")
        assert 64 * 12 <= height <= 64 * 40
