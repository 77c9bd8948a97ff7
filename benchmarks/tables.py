"""Results as Markdown tables, ratios first."""

import statistics

from rounds import Result
from workloads.base import Metric, Workload

Row = list[str]


def render(workload: Workload, results: list[Result]) -> str:
    return f"## {workload.title}\n`{workload.name}`\n\n{table(workload, results)}"


def table(workload: Workload, results: list[Result]) -> str:
    one = len(workload.peers) == 1
    return format_rows(quantities(workload, results[0]) if one else comparison(workload, results))


def quantities(workload: Workload, result: Result) -> list[Row]:
    """One peer, many metrics: a row for each metric."""
    rows = [["", "median", "min … max"]]
    if not result.figures:
        return [*rows, [result.trouble, "", ""]]
    return rows + [[metric.name, *spread(result, metric)] for metric in workload.metrics]


def comparison(workload: Workload, results: list[Result]) -> list[Row]:
    """A row for each peer; the first peer is what the others are compared with."""
    main, *others = workload.metrics
    first = results[0]
    head = ["", f"{first.peer} is better by", "range", main.name, "min … max"]
    rows = [head + [metric.name for metric in others]]
    for result in results:
        row = [label(result), *ratio(first, result, main)]
        if result.figures:
            row += spread(result, main)
            row += [spread(result, metric)[0] for metric in others]
        rows.append(row)
    return rows


def label(result: Result) -> str:
    if not result.choice:
        return result.peer
    settings = ", ".join(f"{key}={value}" for key, value in result.choice.items())
    return f"{result.peer} ({settings})"


def ratio(first: Result, other: Result, metric: Metric) -> Row:
    """Of the medians, and of each round; more than 1 is in favour of the first."""
    if other.trouble:
        return [other.trouble, ""]
    if first is other:
        return ["1", ""]
    if first.trouble:
        return ["", ""]
    whole = better_by(median(first, metric), median(other, metric), metric)
    each = [
        better_by(one[metric.name], two[metric.name], metric)
        for one, two in zip(first.figures, other.figures, strict=True)
    ]
    return [f"**{number(whole)}x**", f"{number(min(each))} … {number(max(each))}"]


def better_by(first: float, other: float, metric: Metric) -> float:
    above, below = (first, other) if metric.more_is_better else (other, first)
    return above / below if below else float("inf")


def median(result: Result, metric: Metric) -> float:
    return statistics.median(figures[metric.name] for figures in result.figures)


def spread(result: Result, metric: Metric) -> Row:
    """Median and range; nothing where a metric was left out, as --quick does with big sizes."""
    values = [figures[metric.name] for figures in result.figures if metric.name in figures]
    if not values:
        return ["", ""]
    middle = number(statistics.median(values))
    return [middle, f"{number(min(values))} … {number(max(values))}"]


def number(value: float) -> str:
    """Three significant digits, thousands with commas."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        digits = len(str(int(abs(value))))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.3g}"


def format_rows(rows: list[Row]) -> str:
    columns = max(len(row) for row in rows)
    filled = [
        [cell.replace("|", "\\|") for cell in row] + [""] * (columns - len(row)) for row in rows
    ]
    widths = [max(3, *(len(row[i]) for row in filled)) for i in range(columns)]
    filled.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(format_row(row, widths) for row in filled)


def format_row(row: Row, widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return f"| {' | '.join(cells)} |"
