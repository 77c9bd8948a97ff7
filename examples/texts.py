"""Functions for `aplex map`; the commands are in shell.sh."""

import asyncio


def count_words(line: str) -> int:
    return len(line.split())


async def shorten(title: str, width: int = 20) -> str:
    await asyncio.sleep(0.01)  # as if a service did it
    return title if len(title) <= width else f"{title[: width - 1]}…"


def speed(meters: float, seconds: float) -> float:
    return meters / seconds
