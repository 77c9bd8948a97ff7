"""Shared by the tests of the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire.sides import Sides


@pytest.fixture
def sides() -> Iterator[Sides]:
    made = Sides()
    yield made
    made.arena.close()
    made.lent.end.close()
