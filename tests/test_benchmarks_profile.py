"""The profile of the benchmarks: what is made of its samples. Nothing is measured here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
if not BENCHMARKS.exists():  # an archive of the sources may come without them
    pytest.skip("no benchmarks here", allow_module_level=True)

sys.path.insert(0, str(BENCHMARKS))
try:
    import profile_path
    import sampling
finally:
    sys.path.remove(str(BENCHMARKS))

APLEX, STDLIB = "/x/src/aplex/_pool/pool.py", f"/x/python3.{sys.version_info.minor}/"


@pytest.mark.parametrize(
    ("stack", "room"),
    [
        ([(APLEX, "submit")], "aplex._pool.pool"),
        ([(f"{STDLIB}threading.py", "notify"), (APLEX, "submit")], "aplex._pool.pool"),
        ([(f"{STDLIB}asyncio/events.py", "_run"), (APLEX, "serve")], sampling.ELSE),
        ([(f"{BENCHMARKS}/works.py", "same"), (APLEX, "run")], "aplex._pool.pool"),
        ([(f"{BENCHMARKS}/works.py", "same")], sampling.PROGRAM),
    ],
)
def test_a_sample_counts_for_a_room(stack: sampling.Stack, room: str) -> None:
    assert sampling.room(stack) == room


def test_modules_have_short_names() -> None:
    assert (
        sampling.module("/aplex/src/aplex/_backends/process/backend.py")
        == "aplex._backends.process.backend"
    )
    assert sampling.module(f"{STDLIB}asyncio/events.py") == "asyncio.events"
    assert sampling.module(f"{STDLIB}site-packages/cloudpickle/__init__.py") == "cloudpickle"
    installed = f"{BENCHMARKS}/.envs{STDLIB}site-packages/multidict/_abc.py"
    assert sampling.module(installed) == "multidict._abc"


def test_microseconds_are_shared_out_by_thread() -> None:
    samples = {1: sampling.Counter({("a", "x"): 3, ("b", "x"): 1})}
    assert profile_path.weigh(samples, {1: 8.0, 2: 1.0}, 0) == {
        "a": 6.0,
        "b": 2.0,
        "threads without a sample": 1.0,
    }


def test_a_profile_adds_up_to_the_whole() -> None:
    parts = {"parent": {"a": 3.0, "b": 1.0}, "workers": {"a": 4.0}}
    table = profile_path.rows("room", parts, 8.0)
    assert table[1] == ["a", "3.00", "4.00", "7.00", "88%"]
    assert table[-1] == ["all", "4.00", "4.00", "8.00", "100%"]
