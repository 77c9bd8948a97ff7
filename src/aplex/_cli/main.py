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


COMMANDS: Final[dict[str, Entry]] = {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows the program's name; those of the process by default.

    Returns:
        The exit code: that of the command, 2 where the arguments are wrong.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(given).parse_args(given)
    if options.command is None:
        _parser([]).print_help(sys.stderr)
        return 2
    return _command(options.command).run(options)


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands; only the one that is asked for is imported."""
    parser = argparse.ArgumentParser(
        prog="aplex", description="Run coroutines and functions in a pool of workers."
    )
    parser.add_argument("--version", action="version", version=f"aplex {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    chosen = next((word for word in given if not word.startswith("-")), None)
    for name, entry in COMMANDS.items():
        subparser = commands.add_parser(name, help=entry.help, description=entry.help)
        if name == chosen:
            _command(name).configure(subparser)
    return parser


def _command(name: str) -> Command:
    return cast("Command", importlib.import_module(COMMANDS[name].module))
