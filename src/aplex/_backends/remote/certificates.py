"""What is told of the end of a remote worker."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from aplex._backends.contract import Death
from aplex._backends.linked.deaths import describe, never_served

if TYPE_CHECKING:
    from aplex._backends.remote.launch import Launch
    from aplex._backends.remote.link import RemoteLink

ALL: Final = (sys.maxsize, sys.maxsize)
"""How many works it may have started, of each lane, of which that is not known."""


def examine(launch: Launch, link: RemoteLink) -> Death:
    """Return how a linked worker has ended. Under the lock."""
    worker, certificate = launch.worker, link.certificate
    node, uptime = link.arrival.host, time.monotonic() - link.born
    if certificate is None:
        error = describe(worker, None, uptime, node=node, lost_by=launch.lost_by)
        words = ""
    else:
        words = certificate.words.decode(errors="replace")
        error = describe(
            worker,
            certificate.exitcode,
            uptime,
            out_of_memory=certificate.out_of_memory,
            peak_rss=certificate.peak_rss,
            words=lambda: words,
            node=node,
        )
    reason = never_served(error, words) if worker.pid is None else None
    started = ALL if certificate is None else link.progress.read()
    return Death(started, error, reason, uptime)
