"""Copies of a worker: what ends a process that a work has forked off. Here it does not end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from aplex._worker import lane as lanes
from aplex._worker.chunks import Chunk
from aplex._worker.lane import Ending, end, end_after_step, end_chunks


class Ended(SystemExit):
    """The process would have ended here. (Event loops let no other exception out.)"""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@pytest.fixture(autouse=True)
def exits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise, in the place of the end."""

    def leave(status: int) -> NoReturn:
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", leave)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (None, 0, ""),
        (SystemExit(), 0, ""),
        (SystemExit(3), 3, ""),
        (SystemExit(-1), 255, ""),
        (SystemExit("no more"), 1, "no more\n"),
        (ValueError("wrong"), 1, "ValueError: wrong\n"),
        (KeyboardInterrupt(), 1, "KeyboardInterrupt\n"),
    ],
)
def test_it_ends_as_a_program_that_raises_this(
    error: BaseException | None, status: int, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Ended) as ended:
        end(error)
    assert ended.value.status == status
    assert capfd.readouterr().err.endswith(told)


def _report(ending: Any) -> None:
    ending.codec.error(7, SystemExit(4))


def _report_of_a_chunk(ending: Any) -> None:
    chunk: Any = Chunk([], None)
    chunk.error = SystemExit(4)
    ending.put(7, chunk)


def _handle(ending: Any) -> None:
    try:
        raise SystemExit(4)
    except SystemExit:
        with ending:
            pass


@pytest.mark.parametrize("use", [_report, _report_of_a_chunk, _handle])
def test_whoever_reports_an_error_ends_with_it(use: Callable[[Any], None]) -> None:
    with pytest.raises(Ended) as ended:
        use(Ending())
    assert ended.value.status == 4


@pytest.mark.parametrize(
    "use",
    [
        bool,
        lambda ending: 7 in ending,
        lambda ending: ending.__setitem__(7, None),
        lambda ending: ending.__delitem__(7),
        lambda ending: ending.started.append(7),
    ],
    ids=["bool", "in", "set", "delete", "call"],
)
def test_whoever_uses_anything_else_ends(use: Callable[[Any], object]) -> None:
    with pytest.raises(Ended) as ended:
        use(Ending())
    assert ended.value.status == 0


def test_a_chunk_has_no_more_items() -> None:
    """Whatever the frames above hold: only those of chunks are looked at."""
    names: dict[str, Any] = {"__name__": "aplex._worker.chunks_plain", "end_chunks": end_chunks}
    exec("def run(calls):\n    end_chunks()\n    return list(calls)", names)
    mine = iter("abc")
    assert names["run"](iter("abc")) == []
    assert list(mine) == ["a", "b", "c"]


async def _raises() -> None:
    raise SystemExit(5)


async def _returns() -> None:
    """Be done."""


async def _waits() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize(("work", "status"), [(_returns, 0), (_raises, 5), (_waits, 0)])
def test_a_copy_of_a_loop_ends_after_the_step(work: Callable[[], Any], status: int) -> None:
    """Before any other step that is ready."""
    others: list[str] = []

    async def step() -> None:
        end_after_step(asyncio.get_running_loop())
        asyncio.get_running_loop().call_soon(others.append, "another")
        await work()

    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(step())
        with pytest.raises(Ended) as ended:
            _run_out(loop)
        assert ended.value.status == status
        assert others == []
        task.cancel()
        if task.done():
            task.exception()
        else:
            loop.run_until_complete(asyncio.wait([task]))
    finally:
        loop.close()


def _run_out(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it raises what ends the process; a work's SystemExit comes out, too."""
    for _ in range(3):
        try:
            loop.run_forever()
        except Ended:
            raise
        except SystemExit:
            continue


def test_a_loop_of_another_kind_ends_soon() -> None:
    """Its queue cannot be reached."""
    soon: list[Callable[[], None]] = []
    loop: Any = SimpleNamespace(call_soon=soon.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "current_task", lambda _loop: None)
        end_after_step(loop)
    with pytest.raises(Ended) as ended:
        soon[0]()
    assert ended.value.status == 0


def test_what_is_no_error_is_none() -> None:
    values: Iterator[Any] = iter([None, 7, Chunk([], None)])
    assert [lanes._error_in(value) for value in values] == [None, None, None]
