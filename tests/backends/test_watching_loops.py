"""An event loop that watches the channels of workers, and what breaks into it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from aplex import ProcessAsyncPoolExecutor
from aplex._backends.linked import backend
from tests.support import works

DEADLINE = 30.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def pool() -> Iterator[Any]:
    with ProcessAsyncPoolExecutor(1, awaitable=True) as pool:
        yield pool


def test_ctrl_c_in_a_callback_that_watches_loses_no_channel(
    loop: asyncio.AbstractEventLoop, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, calls = backend._watch_in_loop, []

    def interrupted(*call: Any) -> None:
        calls.append(call)
        if len(calls) == 1:
            raise KeyboardInterrupt
        watch(*call)

    async def use() -> list[int]:
        futures = [pool.submit((works.aadd, works.add)[n % 4 // 2], n) for n in range(8)]
        return [await asyncio.wait_for(future, DEADLINE) for future in futures]

    assert loop.run_until_complete(use()) == list(range(8))
    monkeypatch.setattr(backend, "_watch_in_loop", interrupted)
    pool.resize(2)  # not in the loop
    ready = loop.create_task(pool.start())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(ready)
    loop.run_until_complete(asyncio.wait_for(ready, DEADLINE))
    assert loop.run_until_complete(use()) == list(range(8))
    assert len(calls) == 2


def test_a_loop_forgets_a_channel_in_a_callback_of_its_own(
    loop: asyncio.AbstractEventLoop, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who shuts a pool down may be a handler that has broken into the loop: see `_leave_loop`."""
    remove = loop.remove_reader
    removed = asyncio.Event()

    def note(fd: int) -> bool:
        removed.set()
        return remove(fd)

    async def end() -> None:
        await pool.submit(works.add, 1, 1)
        monkeypatch.setattr(loop, "remove_reader", note)
        pool.shutdown(wait=False)
        assert not removed.is_set()
        await asyncio.wait_for(removed.wait(), DEADLINE)

    loop.run_until_complete(end())
