"""``reliability/exceptions.py`` with those libraries that the test suite has anyway."""

from __future__ import annotations

from aplex import ProcessAsyncPoolExecutor
from reliability import exceptions
from tests.support.http_server import serving

TRIED = ("aiohttp", "numpy")
INSTALLED = [
    name
    for name, case in exceptions.CASES.items()
    if case.library in TRIED and exceptions.version(case.library)
]


def test_exceptions_of_libraries_are_what_they_were() -> None:
    with serving(exceptions.Refusing) as url, ProcessAsyncPoolExecutor(pool_size=1) as pool:
        found = {name: exceptions.compare(pool, name, url) for name in INSTALLED}
    assert found == {name: [] for name in INSTALLED}
    assert len(found) >= 3


def test_what_differs_is_found() -> None:
    case = exceptions.Case("none", print, ("error.code",))
    error = SystemExit(3)
    wanted = exceptions.traits(error, case)
    error.code = 4
    assert exceptions.traits(error, case)["error.code"] != wanted["error.code"]


def test_each_library_can_be_told_to_be_missing() -> None:
    assert exceptions.version("there is no such library") is None
