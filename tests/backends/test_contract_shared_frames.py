"""Contract: arrays and frames that are shared are mapped by all workers, and read-only there.

NumPy, Arrow, pandas and polars: each has its own way to pickle. The executor lives in a process of
its own: polars starts threads when it is imported, and other tests fork this one.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.support import frames

pytestmark = pytest.mark.timeout(120)  # four big libraries are imported, twice


@pytest.fixture(scope="module")
def elsewhere(helpers: None) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        executor.submit(frames.start).result()
        yield executor
        executor.submit(frames.stop).result()


@pytest.mark.needs("linux")  # shared memory
@pytest.mark.parametrize("kind", frames.KINDS)
def test_it_is_mapped_and_read_only(elsewhere: ProcessPoolExecutor, kind: str) -> None:
    assert elsewhere.submit(frames.where_it_lies, kind).result() == ("r--s", True)


@pytest.mark.parametrize("kind", frames.KINDS)
def test_it_comes_as_it_was(elsewhere: ProcessPoolExecutor, kind: str) -> None:
    assert elsewhere.submit(frames.comes_as_it_was, kind).result()


@pytest.mark.parametrize("shape", [(3,), (), (0, 3)])
def test_small_ones_are_read_only_too(
    elsewhere: ProcessPoolExecutor, shape: tuple[int, ...]
) -> None:
    expected = "empty" if 0 in shape else "read-only"
    assert elsewhere.submit(frames.small, shape).result() == expected


def test_a_work_that_writes_fails(elsewhere: ProcessPoolExecutor) -> None:
    assert "read-only" in elsewhere.submit(frames.what_a_writer_gets).result()


def test_what_arrow_knows_otherwise_keeps_its_types(elsewhere: ProcessPoolExecutor) -> None:
    before, after = elsewhere.submit(frames.types_of_polars).result()
    assert after == before
