"""Shared by the tests of remote workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.conftest import signals  # noqa: F401 - a fixture
from tests.support.leaks import nothing_left_alive


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No command, no agent and no worker is left."""
    with nothing_left_alive():
        yield
