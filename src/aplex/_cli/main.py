"""`aplex COMMAND …`: finds the command and runs it."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, cast

from aplex._version import __version__


class Entry(NamedTuple):
    """A command as `aplex --help` shows it, and the module that holds it."""

    module: str
    help: str


class Command(Protocol):
    """What the module of a command offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it, and return the exit code."""
        ...


class Prepares(Protocol):
    """What it may offer, too."""

    def prepare(self, arguments: Sequence[str]) -> tuple[list[str], list[str] | None]:
        """Return the arguments that `argparse` is to read, and items that follow them."""
        ...


INTERRUPTED: Final = 130
"""The exit code that shells report of a program that Ctrl-C has ended."""
COMMANDS: Final[dict[str, Entry]] = {
    "map": Entry("aplex._cli.map.command", "run a Python function on each item of an input"),
    "run": Entry("aplex._cli.run", "run a program, and record what its pools do"),
    "trace": Entry("aplex._cli.trace", "make a trace for Perfetto of a recording"),
    "report": Entry("aplex._cli.report", "make a report in HTML of a recording"),
    "works": Entry("aplex._cli.works", "list the works of a recording"),
    "ps": Entry("aplex._cli.ps", "list the pools of this user's processes"),
    "top": Entry("aplex._cli.top", "watch what pools do, from outside"),
    "dump": Entry("aplex._cli.dump", "print the stacks of all works of a process"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows the program's name; those of the process by default.

    Returns:
        The exit code: that of the command, 2 where the arguments are wrong, 130 after Ctrl-C.
    """
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _main(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in given if not word.startswith("-")), None)
    space = argparse.Namespace()
    if chosen in COMMANDS and hasattr(command := _command(chosen), "prepare"):
        given, space.items = cast("Prepares", command).prepare(given)
    options = _parser(chosen).parse_args(given, space)
    if options.command is None:
        _parser(None).print_help(sys.stderr)
        return 2
    return _command(options.command).run(options)


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """Return the parser of all commands; only the one that is asked for is imported."""
    parser = argparse.ArgumentParser(
        prog="aplex", description="Run coroutines and functions in a pool of workers."
    )
    parser.add_argument("--version", action="version", version=f"aplex {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, entry in COMMANDS.items():
        subparser = commands.add_parser(name, help=entry.help, description=entry.help)
        if name == chosen:
            _command(name).configure(subparser)
    return parser


def _command(name: str) -> Command:
    return cast("Command", importlib.import_module(COMMANDS[name].module))
