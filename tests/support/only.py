"""The engine that the contract is run with, if it is to be one that is not run otherwise.

``--engine=interpreter``: subinterpreters, which are there from CPython 3.14 on.
"""

from __future__ import annotations

import os

ENGINES = ("interpreter",)
VARIABLE = "APLEX_TEST_ENGINE"
"""Environment variable with its name; for the workers of pytest, too."""


def only_engine() -> str | None:
    """Return the engine that is asked for; None: those that are there everywhere."""
    return os.environ.get(VARIABLE) or None


def begin(arguments: list[str]) -> None:
    """Note it, before the tests are imported.

    Args:
        arguments: Of pytest. (Its workers have none; they have the variable.)
    """
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--engine", choices=ENGINES, default=only_engine())
    engine = parser.parse_known_args(arguments)[0].engine
    if engine is not None:
        os.environ[VARIABLE] = engine
