"""The invariants of the Pool: it checks them itself."""

from __future__ import annotations

from aplex._pool.pool import Pool


def check(pool: Pool) -> None:
    """Assert what must hold between two events."""
    pool.check()
