"""Shared by the tests of the Manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.manager.desk import Desk


@pytest.fixture
def desks() -> Iterator[Callable[..., Desk]]:
    """Make desks; they are gone after the test."""
    made: list[Desk] = []

    def make(*args: Any, **kwargs: Any) -> Desk:
        made.append(Desk(*args, **kwargs))
        return made[-1]

    yield make
    for desk in made:
        desk.end()
