"""The picture of a pool at work on the front page, in the languages of the site."""

# ruff: noqa: RUF001 - Chinese has commas of its own
import math

import drawing
from drawing import Palette

WIDTH, HEIGHT = 720, 404
WORDS = {
    "en": {
        "title": "A program submits works to a pool. Each worker runs many coroutines on an event "
        "loop, and a plain function beside it. A worker that died is being replaced.",
        "program": "your program",
        "works": "works",
        "results": "results",
        "worker": "worker",
        "coroutines": "coroutines",
        "function": "a function",
        "died": "killed",
        "next": "replaced, others go on",
    },
    "zh_CN": {
        "title": "程序把任务提交给池。每个工作进程在事件循环上同时运行许多协程，旁边还运行一个"
        "普通函数。死亡的工作进程正在被替换。",
        "program": "你的程序",
        "works": "任务",
        "results": "结果",
        "worker": "工作进程",
        "coroutines": "许多协程",
        "function": "普通函数",
        "died": "被杀死",
        "next": "自动替换，其他照常运行",
    },
    "zh_TW": {
        "title": "程式把工作提交給池。每個工作行程在事件迴圈上同時執行許多協程，旁邊還執行一個"
        "一般函式。死掉的工作行程正在被替換。",
        "program": "你的程式",
        "works": "工作",
        "results": "結果",
        "worker": "工作行程",
        "coroutines": "許多協程",
        "function": "一般函式",
        "died": "被殺掉",
        "next": "自動替換，其他照常執行",
    },
}
# Moves only for those who do not ask for less motion.
STYLE = """
@media (prefers-reduced-motion: no-preference) {
  .turn { animation: turn 9s linear infinite; transform-box: fill-box; transform-origin: center }
  .flow { animation: flow 1.2s linear infinite }
  .back { animation: flow 1.2s linear infinite reverse }
}
@keyframes turn { to { transform: rotate(360deg) } }
@keyframes flow { to { stroke-dashoffset: -28 } }
"""
LEFT, RIGHT = 330, 710  # of the workers
TALL = 112


def picture(palette: Palette, language: str) -> str:
    """Return the picture."""
    words = WORDS.get(language, WORDS["en"])
    parts = _program(palette, words)
    for place in range(3):
        y = 12 + (TALL + 20) * place
        parts += _arrows(palette, y + TALL / 2)
        parts += _worker(palette, words, place, y)
    parts += [
        drawing.text(252, 26, words["works"], palette.ours, 18, text_anchor="middle"),
        drawing.text(252, 394, words["results"], palette.faint, 18, text_anchor="middle"),
    ]
    return drawing.svg(WIDTH, HEIGHT, words["title"], parts, STYLE)


def _program(palette: Palette, words: dict[str, str]) -> list[str]:
    mono = {"font_family": "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"}
    frame = {"rx": 10, "fill": palette.paper, "stroke": palette.line, "stroke_width": 2}
    return [
        drawing.box(6, 116, 178, 168, **frame),
        drawing.text(
            95, 148, words["program"], palette.ink, 20, text_anchor="middle", font_weight=700
        ),
        drawing.text(22, 190, "pool.submit()", palette.ink, 17, **mono),
        drawing.text(22, 220, "pool.map()", palette.ink, 17, **mono),
        drawing.text(22, 250, "await …", palette.ink, 17, **mono),
    ]


def _arrows(palette: Palette, y: float) -> list[str]:
    """Works that travel to a worker, and results that come back."""
    there = f"M188 188C250 188 262 {y - 10:g} {LEFT - 8} {y - 10:g}"
    back = f"M188 212C250 212 262 {y + 12:g} {LEFT - 8} {y + 12:g}"
    dots = {"fill": "none", "stroke_width": 7, "stroke_linecap": "round"}
    dots["stroke_dasharray"] = "0 14"
    return [
        drawing.path(there, stroke=palette.ours, class_="flow", **dots),
        drawing.path(back, stroke=palette.others, class_="back", **dots),
    ]


def _worker(palette: Palette, words: dict[str, str], place: int, y: float) -> list[str]:
    died = place == 2
    frame = {"rx": 10, "fill": palette.paper, "stroke_width": 2}
    frame["stroke"] = palette.bad if died else palette.line
    if died:
        frame["stroke_dasharray"] = "7 5"
    title = f"{words['worker']} {place + 1}"
    parts = [
        drawing.box(LEFT, y, RIGHT - LEFT, TALL, **frame),
        drawing.text(
            RIGHT - 14, y + 26, title, palette.ink, 18, text_anchor="end", font_weight=700
        ),
    ]
    return parts + (_dead(palette, words, y) if died else _alive(palette, words, y))


def _alive(palette: Palette, words: dict[str, str], y: float) -> list[str]:
    """An event loop with its coroutines, and a function that computes."""
    x, middle, radius = LEFT + 60, y + TALL / 2, 36
    ring = [drawing.dot(x, middle, radius, fill="none", stroke=palette.line, stroke_width=3)]
    for number in range(12):
        angle = math.tau * number / 12
        at = x + radius * math.cos(angle), middle + radius * math.sin(angle)
        ring.append(drawing.dot(round(at[0], 1), round(at[1], 1), 5.5, fill=palette.ours))
    return [
        f'<g class="turn">{"".join(ring)}</g>',
        drawing.text(LEFT + 112, y + 62, words["coroutines"], palette.ours, 18),
        drawing.box(LEFT + 112, y + 80, 150, 14, rx=7, fill=palette.line),
        drawing.box(LEFT + 112, y + 80, 92, 14, rx=7, fill=palette.faint),
        drawing.text(LEFT + 272, y + 93, words["function"], palette.faint, 18),
    ]


def _dead(palette: Palette, words: dict[str, str], y: float) -> list[str]:
    x, middle = LEFT + 60, y + TALL / 2
    cross = f"M{x - 20} {middle - 20}l40 40m0 -40l-40 40"
    return [
        drawing.path(cross, stroke=palette.bad, stroke_width=6, stroke_linecap="round"),
        drawing.text(LEFT + 112, y + 62, words["died"], palette.bad, 18),
        drawing.text(LEFT + 112, y + 90, words["next"], palette.ink, 18),
    ]
