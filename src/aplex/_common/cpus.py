"""How many processors this process may really use."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path


def usable_cpus() -> int:
    """Return the number of CPUs allowed by affinity *and* by cgroup quota, at least 1."""
    if sys.platform == "linux" and hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, min(count, math.ceil(quota)) if quota else count)


def cgroup_quota(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> float:
    """Return the CPUs the cgroup (v2, or v1) grants, 0 if it sets no limit.

    See https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    quotas = [_v1_quota(root)]
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, _, path = line.split(":", 2)
        if number == "0":
            folder = root / path.lstrip("/")
            # A limit on any level holds; inside a container the path may not be visible.
            quotas += [_v2_quota(parent) for parent in (root, folder, *folder.parents)]
    return min((quota for quota in quotas if quota), default=0)


def _v2_quota(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return 0 if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return 0


def _v1_quota(root: Path) -> float:
    try:
        quota = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period = int((root / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return 0
    return quota / period if quota > 0 else 0
