"""Logic: the number of CPUs, against made-up cgroup trees."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from aplex._common import cpus
from aplex._common.cpus import cgroup_quota, usable_cpus


class Tree:
    """A cgroup file system, and what ``/proc/self/cgroup`` says."""

    def __init__(self, path: Path) -> None:
        self.root = path / "cgroup"
        self.own = path / "own"

    def write(self, name: str, text: str) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def quota(self, own: str | None = None) -> float:
        if own is not None:
            self.own.write_text(own)
        return cgroup_quota(self.root, self.own)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_without_cgroups_there_is_no_limit(tree: Tree) -> None:
    assert tree.quota() == 0


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("150000 100000\n", 1.5),
        ("50000 100000\n", 0.5),
        ("max 100000\n", 0),
        ("", 0),
        ("nonsense here\n", 0),
        ("1 2 3\n", 0),
    ],
)
def test_version_2_says_quota_and_period(tree: Tree, text: str, quota: float) -> None:
    tree.write("job/cpu.max", text)
    assert tree.quota("0::/job\n") == quota


def test_the_smallest_limit_on_the_way_up_holds(tree: Tree) -> None:
    tree.write("cpu.max", "max 100000\n")
    tree.write("a/cpu.max", "200000 100000\n")
    tree.write("a/b/cpu.max", "max 100000\n")
    tree.write("a/b/c/cpu.max", "300000 100000\n")
    assert tree.quota("0::/a/b/c\n") == 2


def test_inside_a_container_the_limit_stands_at_the_root(tree: Tree) -> None:
    tree.write("cpu.max", "200000 100000\n")
    assert tree.quota("0::/not/visible/here\n") == 2


def test_other_hierarchies_are_not_version_2(tree: Tree) -> None:
    tree.write("job/cpu.max", "100000 100000\n")
    assert tree.quota("4:cpu,cpuacct:/job\n1:name=systemd:/job\n") == 0


def test_a_path_may_hold_colons(tree: Tree) -> None:
    tree.write("a:b/cpu.max", "100000 100000\n")
    assert tree.quota("0::/a:b\n") == 1


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("400000", "100000", 4), ("-1", "100000", 0), ("x", "100000", 0), ("1", None, 0)],
)
def test_version_1_says_them_in_two_files(
    tree: Tree, quota: str, period: str | None, expected: float
) -> None:
    tree.write("cpu/cpu.cfs_quota_us", quota)
    if period is not None:
        tree.write("cpu/cpu.cfs_period_us", period)
    assert tree.quota() == expected


def test_with_both_versions_the_smaller_holds(tree: Tree) -> None:
    tree.write("cpu/cpu.cfs_quota_us", "300000")
    tree.write("cpu/cpu.cfs_period_us", "100000")
    tree.write("cpu.max", "500000 100000")
    assert tree.quota("0::/\n") == 3


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [(8, 0, 8), (8, 1.5, 2), (8, 0.1, 1), (2, 6.0, 2), (1, 1.0, 1)],
)
def test_both_affinity_and_quota_hold(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr(cpus, "cgroup_quota", lambda: quota)
    assert usable_cpus() == expected


@pytest.mark.parametrize(("count", "expected"), [(6, 6), (None, 1)])
def test_without_affinity_all_cpus_count(
    monkeypatch: pytest.MonkeyPatch, count: int | None, expected: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(cpus, "cgroup_quota", lambda: 0)
    assert usable_cpus() == expected


@pytest.mark.smoke
def test_here_there_is_at_least_one_and_no_more_than_the_machine_has() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert math.isfinite(cgroup_quota())
