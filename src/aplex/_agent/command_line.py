"""The command line of a worker that dials its pool."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from aplex._wire.credentials import taken_from
from aplex._wire.frames import PipeEnd
from aplex._wire.handshake import RefusedError

SECRET: Final = "APLEX_SECRET"  # noqa: S105 - the name of the variable
"""The environment variable with the secret."""
REFUSED: Final = 3
UNREACHABLE: Final = 4


def run(arguments: Sequence[str]) -> int:
    """Serve a pool; return an exit code: 0, 2 (usage), 3 (refused) or 4 (not reached)."""
    if sys.platform == "win32":
        sys.stderr.write("aplex.worker: a worker that dials its pool cannot run on Windows\n")
        return 2
    parser = _parser()
    options = parser.parse_args(arguments)
    secret, stdin = _secret(parser, options.secret_file)
    keeper = PipeEnd(stdin) if options.while_stdin else None
    if keeper is None:
        os.close(stdin)
    host, _, port = options.connect.rpartition(":")
    number, _, token = options.token.partition("-")
    try:
        token_bytes = bytes.fromhex(token)
        port_number, place_number = int(port), int(number)
    except ValueError:
        parser.error("--connect must be HOST:PORT, and --token as the pool has made it")
    from aplex._agent.dialing import Place

    tls = _tls(parser, options)
    host = host.strip("[]")
    place = Place(host, port_number, place_number, token_bytes, secret, tls, options.accept)
    try:
        if sys.platform != "win32":
            from aplex._agent.agent import serve

            return serve(place, keeper)
        parser.error("remote workers are not supported on Windows")
    except RefusedError as error:
        return _say(REFUSED, f"refused by {options.connect}: {error}")
    except EOFError:  # it has let us in, and is gone, or does not want this worker any more
        return UNREACHABLE
    except OSError as error:
        return _say(UNREACHABLE, f"no connection to {options.connect}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aplex.worker",
        description="A worker of an aplex pool on another machine, which it dials. The pool "
        "appends --connect and --token to its command.",
    )
    parser.add_argument("--connect", required=True, metavar="HOST:PORT", help="where the pool is")
    parser.add_argument(
        "--token", required=True, help="which worker this is; may be used once, by one worker"
    )
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        help=f"a file with the secret, '-' for a line of standard input; else it is in {SECRET}",
    )
    for name, what in (
        ("certificate", "the worker's own certificate"),
        ("key", "its private key"),
        ("ca", "certificates of the authorities that the pool's may be vouched for by"),
    ):
        parser.add_argument(
            f"--tls-{name}",
            metavar="FILE",
            help=f"speak TLS, with {what} (PEM); else it is in APLEX_TLS_{name.upper()}",
        )
    parser.add_argument(
        "--while-stdin",
        action="store_true",
        help="end the worker when standard input ends: when what has started it is gone",
    )
    parser.add_argument(
        "--accept",
        type=int,
        default=-1,
        metavar="DESCRIPTOR",
        help="do not dial the pool: it dials what this descriptor listens to",
    )
    return parser


def _secret(parser: argparse.ArgumentParser, file: str | None) -> tuple[bytes, int]:
    """Return the secret; nothing that works see has it. And what was standard input."""
    secret = os.environ.pop(SECRET, "")
    if file == "-":
        secret = sys.stdin.readline()
    elif file is not None:
        try:
            secret = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            parser.error(f"the secret cannot be read: {error}")
    if not secret.strip():
        _no_secret(parser)
    return secret.strip().encode(), _leave_stdin()


def _tls(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[str, str, str] | None:
    """Return by what the worker speaks TLS, if it does; nothing that works see has it."""
    names = ("certificate", "key", "ca")
    known = zip(names, taken_from(os.environ), strict=True)
    given = {name: getattr(options, f"tls_{name}") or found for name, found in known}
    if not any(given.values()):
        return None
    missing = [name for name in names if not given[name]]
    if missing:
        parser.error(f"TLS needs --tls-{missing[0]} too, or APLEX_TLS_{missing[0].upper()}")
    return tuple(given[name] for name in names)  # type: ignore[return-value]


def _no_secret(parser: argparse.ArgumentParser) -> NoReturn:
    parser.error(f"there is no secret: give --secret-file, or the environment variable {SECRET}")


def _leave_stdin() -> int:
    """Have nothing to read on standard input: works do not share it. Return what it was."""
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        stdin = os.dup(0)
    except OSError:  # it was closed
        return null
    os.dup2(null, 0)
    os.close(null)
    return stdin


def _say(code: int, message: str) -> int:
    sys.stderr.write(f"aplex.worker: {message}\n")
    return code
