"""Logic: frames of a thread are walked while it goes on, whatever is collected meanwhile."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest

from aplex._common.frames import COLLECTS_ANYWHERE, FrameWalk, frames_of, walking

FREE_WALK = """
import gc, sys, threading, time

from aplex._common.frames import frames_of

class Litter:
    def __init__(self):
        self.me = self
    def __del__(self):
        time.sleep(0.0002)  # another thread goes on, in the middle of whatever made an object

def deep(n, a=1, b=2, c=3):
    some = [n, a, b]
    return wide(n - 1) if n else len((some, c))

def wide(n):
    return sum((deep(m) for m in (n - 1,)), 0) if n > 0 else 0

def busy():
    while not over:
        deep(4), wide(5), deep(9), wide(2)

over = False
gc.set_threshold(5, 2, 2)
thread = threading.Thread(target=busy)
thread.start()
end = time.monotonic() + 4
seen = 0
while time.monotonic() < end:
    Litter()
    seen += sum(frame.f_globals is not None for frame in frames_of(thread.ident))
over = True
thread.join()
print(seen > 1000, gc.isenabled())
"""


@pytest.fixture(autouse=True)
def _collection() -> Iterator[None]:
    yield
    gc.enable()


def test_no_frame_ends_in_the_middle_of_a_walk() -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", FREE_WALK]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True True\n", "")


def test_ones_own_frames_are_those_around_the_caller() -> None:
    def look() -> list[str]:
        return [frame.f_code.co_name for frame in frames_of(threading.get_ident())]

    assert look()[0] == "test_ones_own_frames_are_those_around_the_caller"
    assert frames_of(-1) == []


def test_a_list_of_ones_own_frames_keeps_nothing_alive() -> None:
    class Thing:
        pass

    def look() -> int:
        frames = frames_of(threading.get_ident())
        return len(frames)

    def use() -> weakref.ref[Thing]:
        thing = Thing()
        assert look() > 1
        return weakref.ref(thing)

    gc.disable()  # nobody but the count of references frees it
    assert use()() is None


def test_a_walk_in_a_walk_ends_with_the_outer_one() -> None:
    with walking:
        with walking:
            assert gc.isenabled() is not COLLECTS_ANYWHERE
        assert gc.isenabled() is not COLLECTS_ANYWHERE
    assert gc.isenabled()


def test_who_has_no_collection_keeps_having_none() -> None:
    gc.disable()
    with walking:
        pass
    assert not gc.isenabled()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks")
def test_a_child_that_is_forked_in_the_middle_collects_and_can_walk() -> None:
    walk = FrameWalk()
    inside, end = threading.Event(), threading.Event()

    def hold() -> None:
        with walk:
            inside.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    child = os.fork()
    if not child:
        with walk:
            pass
        os._exit(0 if gc.isenabled() else 1)
    _, status = os.waitpid(child, 0)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert gc.isenabled()
