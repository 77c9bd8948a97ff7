"""The pages: who may write them. No process of ours."""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Iterator

import pytest

from aplex._wire import page as pages
from aplex._wire.page import Memory, WorkerPage, make_page_file
from aplex._wire.past import Past, timings_of
from aplex._worker.meter import Names

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sealed files are Linux's")


@pytest.fixture
def page() -> Iterator[WorkerPage]:
    page = WorkerPage(make_page_file(pages.SIZE))
    page.name("a pool", 7)
    yield page
    page.close()


def kernel() -> tuple[int, ...]:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))


def test_a_sealed_page_is_written_by_those_who_have_mapped_it_only(page: WorkerPage) -> None:
    assert page.end is not None
    path = f"/proc/self/fd/{os.dup(page.end.fileno())}"
    own = int(path.rpartition("/")[2])
    page.seal()
    page.counters[0] = 5
    reader = os.open(path, os.O_RDONLY)
    seen = Memory(pages.SIZE, reader, writable=False)
    page.counters[1] = 6
    assert seen.words[pages.COUNTERS : pages.COUNTERS + 2].tolist() == [5, 6]
    assert seen.words[pages.NUMBER] == 7
    assert pages.text_at(seen.bytes, pages.POOL_NAME, pages.POOL_NAME_SIZE) == b"a pool"
    seen.close()
    writer = os.open(path, os.O_RDWR)
    for size in (0, 2 * pages.SIZE):
        with pytest.raises(PermissionError):
            os.ftruncate(writer, size)
    if kernel() >= (5, 1):
        with pytest.raises(PermissionError):
            os.pwrite(writer, b"x", 0)
        with pytest.raises(PermissionError):
            mmap.mmap(writer, pages.SIZE)
    for fd in (reader, writer, own):
        os.close(fd)


def test_a_kernel_that_knows_no_such_seal_keeps_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_FUTURE_WRITE", 1 << 20)  # no seal of any kernel
    end = make_page_file(pages.SIZE)
    pages.seal(end.fileno())
    assert os.pwrite(end.fileno(), b"x", 0) == 1
    with pytest.raises(PermissionError):
        os.ftruncate(end.fileno(), 0)
    end.close()


def test_a_worker_that_is_gone_is_counted_once() -> None:
    past = Past()
    workers = [WorkerPage(None), WorkerPage(None)]
    for worker in workers:
        place = Names(worker).place_of("f")
        worker.words[pages.HISTOGRAMS // 8 + place * pages.PAIR // 8 + 3] += 1

    def count() -> int:
        parts = timings_of(lambda: workers, past)
        return sum(memoryview(pair).cast("Q")[3] for part in parts for _, pair in part())

    assert count() == 2
    past.add(workers[0])
    past.add(workers[0])
    assert count() == 2
    workers[0].close()
    assert count() == 2
    past.add(workers[1])
    workers[1].close()
    assert count() == 2


def test_without_memory_of_a_name_a_page_is_of_this_process() -> None:
    page = WorkerPage(None)
    page.seal()
    page.counters[2] = time.monotonic_ns()
    assert page.timings()() == []
    page.close()
    with pytest.raises(ValueError, match="released"):
        page.counters[0] = 1
