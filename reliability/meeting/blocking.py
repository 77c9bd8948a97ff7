"""A case with futures and iterators that block: a thread reads each map and stream."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

from reliability.meeting.jobs import CLOSED_AFTER, Call
from reliability.meeting.scene import STEPS, Scene


def play(scene: Scene) -> None:
    """Play it to its end; or, if that is the end of the program, until then."""
    if scene.case.end != "with":
        _play(scene)
        return
    with scene.pool:
        _play(scene)


def _play(scene: Scene) -> None:
    readers = [reader for call in scene.calls if (reader := _begin(scene, call))]
    _cancel_late(scene)
    for step in scene.steps():
        scene.ears.wait(STEPS[step])
        if step != "end":
            scene.happen(step)
            continue
        _await_cancels(scene)
        if scene.case.end == "exit":
            return
        scene.shut()
    concurrent.futures.wait(scene.futures.values())
    for reader in readers:
        reader.join()
    if scene.case.end == "nowait":
        scene.pool.shutdown()


def _begin(scene: Scene, call: Call) -> threading.Thread | None:
    if call.way == "submit":
        scene.submit(call)
        return None
    stream = call.way == "stream"
    opened = scene.stream(call) if stream else scene.map(call)
    keep = scene.streamed if stream else scene.mapped
    reader = threading.Thread(target=_read, args=(scene, call, opened, keep), daemon=True)
    reader.start()
    return reader


def _read(scene: Scene, call: Call, opened: Any, keep: Callable[[Call, int, Any], None]) -> None:
    """Read all, or leave it where the case says so."""
    got = 0
    try:
        if call.cancel != "early":
            for result in opened:
                keep(call, got, result)
                got += 1
                if call.cancel == "late" and got == CLOSED_AFTER:
                    break
            else:
                scene.ended(call, got, "complete")
                return
        opened.close()
    except BaseException as error:
        scene.ended(call, got, type(error).__name__, error)
    else:
        scene.ended(call, got, "closed")


def _cancel_late(scene: Scene) -> None:
    """Cancel works as they begin, and those that already have."""
    if scene.case.way != "submit":
        return
    late = scene.late_cancels()
    scene.ears.hooks.append(lambda _, number, __: number in late and scene.ask(number))
    for number in late:
        if scene.ears.has_begun(number):
            scene.ask(number)


def _await_cancels(scene: Scene) -> None:
    """Wait until those that would not end by themselves are cancelled."""
    for number in scene.held():
        if not scene.ears.wait_for(number):
            scene.complain(f"work {number} has not begun")
