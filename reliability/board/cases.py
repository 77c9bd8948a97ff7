"""The faults. Each plays with two workers, and nothing but what any user can do."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support import works as bad_works

from reliability.board import peers, works
from reliability.board.scene import Scene, described

BUSY: float = 2.0
"""Seconds for which a parent computes and looks after nothing."""
SLOW: float = 30.0
"""Seconds for big results: a busy machine takes its time to copy them."""


@dataclass(frozen=True)
class Case:
    """A fault, and what a good pool does about it."""

    title: str
    play: Callable[[Scene], None]
    initializer: Callable[..., object] | None = None
    serves: bool = True  # whether the pool is to be of use afterwards
    ends: str = "by itself"  # or what the referee does to the program when it is ready


def kill_while_it_runs(scene: Scene) -> None:
    hit, number = scene.start()
    other, other_number = scene.start()
    hit_too, spared = scene.by_process(number, [(other, other_number)])
    scene.kill(number)
    scene.must_end(hit, *hit_too)
    scene.gate.open()
    scene.must_return(spared)


def kill_while_others_wait(scene: Scene) -> None:
    hit, number = scene.start()
    other, other_number = scene.start()
    waiting = scene.submit_waiting()
    hit_too, spared = scene.by_process(number, [(other, other_number)])
    scene.kill(number)
    scene.gate.open()
    scene.must_end(hit, *hit_too)
    scene.must_return([*waiting, *spared])


def kill_all(scene: Scene) -> None:
    (first, one), (second, two) = scene.start(), scene.start()
    waiting = scene.submit_waiting()
    for number in {scene.pid(one): one, scene.pid(two): two}.values():  # both may be in one
        scene.kill(number)
    scene.must_end(first, second)
    scene.must_return(waiting)


def kill_idle(scene: Scene) -> None:
    (first, one), (second, two) = scene.start(), scene.start()
    scene.gate.open()
    scene.must_return([(first, one), (second, two)])
    scene.kill(one)
    scene.must_serve("others")


def kill_while_it_starts(scene: Scene) -> None:
    waiting = scene.submit_waiting()
    scene.doing("the start of a worker")
    scene.peer.wait_for(scene.signals, "started 0")
    scene.kill(0)
    scene.must_return(waiting)


def stop_for_a_while(scene: Scene) -> None:
    hit, number = scene.start()
    other, other_number = scene.start()
    scene.kill(number, signal.SIGSTOP)
    scene.gate.open()
    others = [*scene.submit_waiting(), (other, other_number)]
    if not scene.are_done(others):
        scene.tell("stalled")
    scene.kill(number, signal.SIGCONT)
    scene.must_return([*others, (hit, number)])


def broken_start(scene: Scene) -> None:
    try:
        handles = [scene.peer.submit(works.square, n) for n in range(4)]
    except Exception as error:
        scene.tell("hit", ended=True, seen=described(error))
    else:
        scene.must_end(*handles)


def huge_results(scene: Scene) -> None:
    handles = [scene.peer.submit(works.huge, n) for n in range(4)]
    end = time.monotonic() + BUSY
    while time.monotonic() < end:
        pass
    pairs = [(handle, works.huge(n)) for n, handle in enumerate(handles)]
    scene.must_return(pairs, patience=SLOW)


def nested(scene: Scene) -> None:
    name = next(name for name, kind in peers.PEERS.items() if type(scene.peer) is kind)
    handle = scene.peer.submit(peers.square_in_a_pool, name, 7)
    scene.must_return([(handle, 49)], about="asked")


def run_on(scene: Scene) -> None:
    """Have works running and waiting when something happens to the program."""
    handles = [scene.start(works.last)[0] for _ in range(2)]
    scene.submit_waiting()
    scene.tell("ready")
    for handle in handles:
        scene.peer.result(handle, works.LONG)


def hit_by(work: Callable[..., Any], *args: Any) -> Callable[[Scene], None]:
    """Return a case in which a work does something bad while others wait."""

    def play(scene: Scene) -> None:
        hit = scene.peer.submit(work, *args)
        scene.must_return(scene.submit_waiting())
        scene.must_end(hit)

    return play


CASES: dict[str, Case] = {
    "killed-running": Case("SIGKILL while a work runs", kill_while_it_runs),
    "killed-waiting": Case("SIGKILL while 20 works wait", kill_while_others_wait),
    "killed-all": Case("SIGKILL to all workers, 20 works wait", kill_all),
    "killed-idle": Case("SIGKILL to an idle worker", kill_idle),
    "killed-starting": Case(
        "SIGKILL while a worker starts", kill_while_it_starts, initializer=works.start_held
    ),
    "exit": Case("a work calls os._exit", hit_by(works.leave)),
    "segfault": Case("a work crashes (SIGSEGV)", hit_by(works.crash)),
    "system-exit": Case("a work raises SystemExit", hit_by(works.system_exit)),
    "stopped": Case("SIGSTOP in a work, then SIGCONT", stop_for_a_while),
    "argument": Case(
        "an argument cannot be pickled", hit_by(works.square, bad_works.Unpicklable())
    ),
    "result": Case("a result cannot be pickled", hit_by(bad_works.unpicklable)),
    "bad-result": Case("a result cannot be unpickled", hit_by(bad_works.bad_load)),
    "bad-exception": Case("an exception cannot be unpickled", hit_by(bad_works.fail_mismatched)),
    "initializer": Case(
        "the initializer raises", broken_start, initializer=works.start_badly, serves=False
    ),
    "huge": Case("4 results of 64 MiB, the parent is busy", huge_results),
    "nested": Case("a pool inside a work", nested),
    "parent": Case("SIGKILL to the parent", run_on, ends="by SIGKILL"),
    "ctrl-c": Case("Ctrl-C with works running and waiting", run_on, ends="by Ctrl-C"),
}
