"""A worker that dials its pool: ``python -m aplex.worker --connect HOST:PORT --token TOKEN``.

A pool with workers elsewhere (`aplex.remote`) starts it by a command of yours, to which it appends
these two options. The secret of the pool comes in the environment variable ``APLEX_SECRET``, which
is removed before any work runs; or in a file; never on the command line, where every user of the
machine sees it.
"""

from __future__ import annotations

import sys

__all__: list[str] = []


def _main() -> int:
    from aplex._agent.command_line import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(_main())
