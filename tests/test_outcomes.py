"""`Outcome`: what became of an item."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from aplex import Outcome
from aplex._common.identity import this_worker
from aplex._worker.chunks import Chunk
from aplex._worker.chunks_measured import MeasuredChunk
from aplex._worker.chunks_plain import run_measured_plain
from aplex.exceptions import RemoteTraceback


def test_a_result_is_returned_or_raised() -> None:
    assert Outcome("in", value=3).result() == 3
    assert Outcome("in", value=3).ok
    error = LookupError("no")
    failed: Outcome[int] = Outcome("in", exception=error)
    assert not failed.ok
    with pytest.raises(LookupError) as caught:
        failed.result()
    assert caught.value is error


def test_an_outcome_is_immutable_and_has_no_other_attributes() -> None:
    outcome = Outcome("in", value=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.value = 4  # type: ignore[misc]
    assert not hasattr(outcome, "__dict__")


def test_a_measured_chunk_travels_with_its_failures() -> None:
    values = [(1, None, 0.5, 0.25), (None, LookupError("no"), 0.0, 0.125)]
    chunk = pickle.loads(pickle.dumps(MeasuredChunk(values, 0.5, 0.25, 7)))
    assert (chunk.seconds, chunk.waited, chunk.worker, chunk.error) == (0.5, 0.25, 7, None)
    assert chunk.values[0] == values[0]
    value, error, *seconds = chunk.values[1]
    assert (value, type(error), error.args, seconds) == (None, LookupError, ("no",), [0.0, 0.125])
    assert isinstance(error.__cause__, RemoteTraceback)


def test_every_item_of_a_measured_chunk_runs() -> None:
    chunk = run_measured_plain(lambda x: 6 // x, [[1, 0, 2]], sent=0.0)
    assert isinstance(chunk, Chunk)
    assert [value for value, *_ in chunk.values] == [6, None, 3]
    assert [type(error) for _, error, *_ in chunk.values] == [
        type(None),
        ZeroDivisionError,
        type(None),
    ]


def test_this_is_no_worker() -> None:
    assert this_worker() is None
