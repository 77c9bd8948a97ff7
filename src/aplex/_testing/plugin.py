"""The plugin for pytest: `aplex_leaks` fails a test that leaves pools or works behind.

It is loaded wherever pytest and aplex are installed, so it imports nothing of aplex at first.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

OPTION = "aplex_check_leaks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting that has every test checked."""
    parser.addini(OPTION, "fail each test that leaves aplex pools or works behind", type="bool")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have a test use the fixture, first, if all are to."""
    names = getattr(item, "fixturenames", None)
    if item.config.getini(OPTION) and names is not None and "aplex_leaks" not in names:
        names.insert(0, "aplex_leaks")


@pytest.fixture
def aplex_leaks() -> Generator[None]:
    """Fail a test that leaves executors with workers, or works without outcome, behind.

    Executors of fixtures with a wider scope are there before, and may stay.
    """
    from aplex._testing.leaks import Watch

    watch = Watch()
    yield
    leaks = watch.leaks()
    if leaks:
        lines = "\n".join(f"  {leak}" for leak in leaks)
        pytest.fail(f"this test leaves behind:\n{lines}", pytrace=False)
