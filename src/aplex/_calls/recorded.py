"""Orders to record a whole pool: by the option ``record=``, by ``APLEX_RECORD``, or standing."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Final

from aplex._common import standing
from aplex._common.identity import this_worker
from aplex._observe.source import Observable, Source
from aplex.recordings import Recording

VARIABLE: Final = "APLEX_RECORD"
LIMIT: Final = 1_000_000
_numbers = itertools.count(1)


def begin(
    manager: Observable,
    record: bool | str | os.PathLike[str] | None,  # noqa: FBT001 - as the option is
) -> Recording | None:
    """Begin to record a pool that is being made, if that is ordered.

    Args:
        manager: Of the pool.
        record: The option; None leaves it to the environment.

    Raises:
        OSError: The file cannot be made.
    """
    path = None if isinstance(record, bool) or record is None else Path(record)
    if record is None and os.environ.get(VARIABLE) and this_worker() is None:
        path = path_of(os.environ[VARIABLE], next(_numbers))
    if path is None and record is not True and standing.recordings is None:
        return None
    recording = Recording(Source(manager, LIMIT, messages=False, path=path))
    recording.__enter__()
    if standing.recordings is not None:
        standing.recordings.append(recording)
    return recording


def path_of(template: str, number: int) -> Path:
    """Return the file of a pool: ``%p`` is the process id, and the second pool's has a 2."""
    path = Path(template.replace("%p", str(os.getpid())))
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
