"""A case with futures and iterators that are awaited: a task reads each map and stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from reliability.meeting.jobs import CLOSED_AFTER, Call
from reliability.meeting.scene import STEPS, Scene


def play(scene: Scene) -> None:
    """Play it to its end; or, if that is the end of the program, until then."""
    factory = None
    if scene.case.face == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_play_in_block(scene))


async def _play_in_block(scene: Scene) -> None:
    if scene.case.end != "with":
        await _play(scene)
        return
    async with scene.pool:
        await _play(scene)


async def _play(scene: Scene) -> None:
    readers = [reader for call in scene.calls if (reader := _begin(scene, call))]
    _cancel_late(scene)
    for step in scene.steps():
        await asyncio.to_thread(scene.ears.wait, STEPS[step])
        if step != "end":
            scene.happen(step)
            continue
        await _await_cancels(scene)
        if scene.case.end == "exit":
            return
        scene.shut()
    if scene.futures:
        await asyncio.wait(scene.futures.values())
    await asyncio.gather(*readers)
    # The end of a pool is told to those who wait in a coroutine by ``async with`` only.
    await scene.pool.__aexit__(None, None, None)


def _begin(scene: Scene, call: Call) -> asyncio.Task[None] | None:
    if call.way == "submit":
        scene.submit(call)
        return None
    stream = call.way == "stream"
    opened = scene.stream(call) if stream else scene.map(call)
    keep = scene.streamed if stream else scene.mapped
    return asyncio.create_task(_read(scene, call, opened, keep))


async def _read(
    scene: Scene, call: Call, opened: Any, keep: Callable[[Call, int, Any], None]
) -> None:
    """Read all, or leave it where the case says so."""
    got = 0
    try:
        if call.cancel != "early":
            async for result in opened:
                keep(call, got, result)
                got += 1
                if call.cancel == "late" and got == CLOSED_AFTER:
                    break
            else:
                scene.ended(call, got, "complete")
                return
        await opened.aclose()
    except BaseException as error:
        scene.ended(call, got, type(error).__name__, error)
    else:
        scene.ended(call, got, "closed")


def _cancel_late(scene: Scene) -> None:
    """Cancel works as they begin, and those that already have."""
    if scene.case.way != "submit":
        return
    late, loop = scene.late_cancels(), asyncio.get_running_loop()

    def hear(_: int, number: int, __: int) -> None:
        if number in late:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the program ends
                loop.call_soon_threadsafe(scene.ask, number)

    scene.ears.hooks.append(hear)
    for number in late:
        if scene.ears.has_begun(number):
            scene.ask(number)


async def _await_cancels(scene: Scene) -> None:
    """Wait until those that would not end by themselves are cancelled."""
    for number in scene.held():
        if not await asyncio.to_thread(scene.ears.wait_for, number):
            scene.complain(f"work {number} has not begun")
    await asyncio.sleep(0)  # what the ears have asked the loop for
