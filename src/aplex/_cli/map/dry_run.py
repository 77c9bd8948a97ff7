"""``--dry-run``: prints the calls of a run, and runs none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from aplex._cli.map.driver import FAILED
from aplex._cli.map.items import Item
from aplex._cli.map.settings import Settings
from aplex._cli.map.sink import write_all

PIPE: Final = 141


def show(
    blocks: Iterable[bytes],
    label: str,
    settings: Settings,
    wanted: Callable[[Item], bool] | None,
    output: int,
) -> int:
    """Print the calls, and run none."""
    named = label.removeprefix("-e ") if label.startswith("-e ") else label
    named = f"({named})" if label.startswith("-e ") else named
    code = 0
    try:
        for item in settings.form.items(blocks, keys=wanted is not None):
            if wanted is None or wanted(item):
                line = f"{named}({_arguments(item, settings)})"
                code = code if item.problem is None else FAILED
                write_all(output, f"{line}\n".encode("utf-8", "backslashreplace"))
    except BrokenPipeError:
        return PIPE
    return code


def _arguments(item: Item, settings: Settings) -> str:
    if item.problem is not None:
        return f"{item.short}: {item.problem}"
    fixed = dict(settings.fixed)
    first: list[Any] = [item.value]
    if settings.form.spread == "args":
        first = item.value
    elif settings.form.spread == "kwargs":
        first, fixed = [], {**fixed, **item.value}
    return ", ".join([*map(repr, first), *(f"{name}={value!r}" for name, value in fixed.items())])
