r"""Exceptions of the most used libraries: does a worker's copy say what the original said?

    python3 dev.py reliability exceptions [--only pydantic aiohttp]

Each exception is raised in a worker process, for real where that is possible, and compared with
what arrives: its type, what ``except`` clauses catch it, its ``str()``, its ``args``, and what
users read of it. Libraries that are not installed are told, and skipped; to install them all:

    .venv/bin/python -m pip install aiohttp httpx requests openai docker botocore websockets \
        grpcio pydantic jsonschema lxml pandas numpy SQLAlchemy 'psycopg[binary]' asyncpg redis \
        pyzmq tenacity click cryptography
"""

from __future__ import annotations

import argparse
import http.server
import importlib.metadata
import json
import re
import sys
from typing import Any

from tests.support.http_server import serving

from aplex import ProcessAsyncPoolExecutor
from reliability.raising.case import Case
from reliability.raising.libraries import CASES
from reliability.report.figures import circumstances

PATIENCE = 60.0
"""Seconds after which a work is taken for lost."""

Traits = dict[str, str]
"""What can be seen of an exception, by how it is read."""


class Refusing(http.server.BaseHTTPRequestHandler):
    """Says 404 to everything."""

    def do_GET(self) -> None:
        """Answer, as JSON, or as text if that is asked for."""
        text = self.path.endswith("/text")
        answer = {"error": {"message": "it is not here", "code": "missing"}, "message": "no"}
        body = b"<html>" if text else json.dumps(answer).encode()
        self.send_response(404)
        self.send_header("Content-Type", "text/html" if text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "7")
        self.send_header("x-request-id", "request-1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def raise_it(name: str, url: str) -> None:
    """Raise an exception, in a worker."""
    CASES[name].raises(url)


def original(name: str, url: str) -> Traits:
    """Return what an exception is like in the worker that raises it."""
    try:
        raise_it(name, url)
    except BaseException as error:
        return traits(error, CASES[name])
    raise AssertionError(f"{name} raised nothing")


def traits(error: BaseException, case: Case) -> Traits:
    """Return what can be seen of an exception."""
    kinds = [kind for kind in type(error).__mro__ if not kind.__module__.startswith("aplex.")]
    if kinds[0].__qualname__ == kinds[1].__qualname__:  # a stand-in: a subclass of the same name
        del kinds[0]
    seen = {"type": " ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)}
    for expression in ("str(error)", "error.args", *case.reads):
        seen[expression] = _masked(_value(expression, error))
    return seen


def _value(expression: str, error: BaseException) -> str:
    try:
        return repr(eval(expression, {"error": error}))  # noqa: S307
    except BaseException as reason:
        return f"raises {type(reason).__name__}: {reason}"


def _masked(text: str) -> str:
    """Leave out what differs from process to process, and from one call to the next."""
    text = re.sub(r"0x[0-9a-f]{6,}", "0x…", text)
    return re.sub(r"127\.0\.0\.1:\d+|:\d{5}\b|\d{2}:\d{2}:\d{2}[^'\"]*", "…", text)


def compare(pool: ProcessAsyncPoolExecutor[Any], name: str, url: str) -> list[str]:
    """Return what differs in the copy of an exception."""
    wanted = pool.submit(original, name, url).result(PATIENCE)
    error = pool.submit(raise_it, name, url).exception(PATIENCE)
    assert error is not None
    found = traits(error, CASES[name])
    return [
        f"{key}: {wanted[key][:200]} became {found[key][:200]}"
        for key in wanted
        if found[key] != wanted[key]
    ]


def version(library: str) -> str | None:
    """Return the version of a library, None if it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Compare all, print a table; exit with 1 if something differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    libraries = list(dict.fromkeys(case.library for case in CASES.values()))
    parser.add_argument("--only", nargs="+", choices=libraries, default=libraries)
    only = parser.parse_args().only
    print(", ".join(f"{name} {value}" for name, value in circumstances().items()))
    print("\n| library | exception | read | |\n|---|---|---|---|")
    differences = []
    with serving(Refusing) as url, ProcessAsyncPoolExecutor(pool_size=1) as pool:
        for name, case in CASES.items():
            if case.library not in only or version(case.library) is None:
                continue
            found = compare(pool, name, url)
            differences += [f"{name}: {each}" for each in found]
            reads = ", ".join(f"`{read}`" for read in case.reads)
            mark = "ok" if not found else f"**{len(found)} differ**"
            print(
                f"| {case.library} {version(case.library)} | {name} | {reads} | {mark} |",
                flush=True,
            )
    missing = [library for library in only if version(library) is None]
    print("\nNot installed: " + (", ".join(missing) or "none"))
    print("\n".join(differences))
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
