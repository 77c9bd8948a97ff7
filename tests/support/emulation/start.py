"""Begins an emulation, in this process and in all that it starts."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.emulation import macos
from tests.support.emulation.views import Importer

SYSTEMS = ("macos", "windows")
VARIABLE = "APLEX_TEST_EMULATES"
"""Environment variable with the name of the system; for the processes that are started."""
ROOT = Path(__file__).parents[3]
SEAM = Path(__file__).parent / "seam"  # Python imports the `sitecustomize` in it

_importer: Importer | None = None


def emulated() -> str | None:
    """Return the name of the system that is emulated; None: none is."""
    return os.environ.get(VARIABLE) or None


def begin(arguments: list[str]) -> None:
    """Begin, if that is asked for. Before anything imports aplex.

    Args:
        arguments: Of pytest. (Its workers have none; they have the variable.)
    """
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--emulate", choices=SYSTEMS, default=emulated())
    system = parser.parse_known_args(arguments)[0].emulate
    if system is None:
        return
    os.environ[VARIABLE] = system
    paths = [str(SEAM), str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    arm()


def arm() -> None:
    """Begin in this process what the environment asks for, unless that was done.

    Then come before what finds modules since: pytest does, to rewrite the asserts of its plugins.
    """
    global _importer  # noqa: PLW0603
    if _importer is not None:
        _importer.come_first()
        return
    macos.take_files()
    if emulated() == "windows":
        from tests.support.emulation import windows

        windows.take_what_is_not_aplexs()
        _importer = Importer(windows.views(), windows.MISSING)
    else:
        _importer = Importer(macos.views(), macos.MISSING)
    _importer.come_first()
