"""Fault: a signal handler that uses the pool at every moment, one after another.

CPython runs handlers when a function begins, after a call, and when a loop goes round. A trace
function does the same at the first such moment inside aplex, and inside ``wait`` and
``as_completed``, then in a new run of the same few lines at the second, and so on, until a run
comes to its end. (Finalizers, of garbage that is collected there, do the same.) Nothing may hang,
every future has its end, and callbacks are called once.
"""

from __future__ import annotations

import pytest
from tests.support.programs import on, run_all, started

TEXT = """
    import collections, concurrent.futures, contextlib, dis, faulthandler, gc, random

    from aplex import SharedHandleError, WorkerLostError

    LOOKS = {dis.opmap[name] for name in dis.opmap
             if name.startswith("CALL") or name in ("RESUME", "JUMP_BACKWARD")}
    PATIENCE = 12
    ENDED = (RuntimeError, concurrent.futures.CancelledError, WorkerLostError)

    class Moment:
        "Runs the handler at the moment of that number."
        def __init__(self, number, handler):
            self.left, self.last, self.place, self.handler = number, {}, None, handler

        def __call__(self, frame, event, argument):
            name = frame.f_code.co_filename
            ours = "aplex" in name or name.endswith(("futures/_base.py", "threading.py"))
            if self.place or not ours or frame.f_lineno is None:
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if event == "opcode":
                before = self.last.get(frame)
                self.last[frame] = frame.f_code.co_code[frame.f_lasti]
                self.left -= before in LOOKS
                if not self.left:
                    self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                    self.last.clear()
                    self.handler()
            return self

    def items(count):
        yield from range(count)

    class Run:
        def __init__(self, pool):
            self.pool, self.futures, self.open, self.handles = pool, [], [], []
            self.expected, self.called = [], []
            self.now = pool.submit(square, 1)
            self.now.result()

        def send(self, *call):
            future = self.pool.submit(*call)
            self.futures.append(future)
            return future

        def watch(self, future):
            future.add_done_callback(lambda f: self.called.append(id(f)))
            self.expected.append(future)

        def flow(self):
            with contextlib.suppress(concurrent.futures.CancelledError):
                self.send(square, 2).result()  # the short way of a work that is alone
            some = [self.send(work, i) for i, work in enumerate((square, asquare, asquare))]
            for future in some:
                self.watch(future)
            concurrent.futures.wait(some)
            more = [self.send(square, i) for i in range(3)]
            for future in concurrent.futures.as_completed(more):
                future.done()
            self.send(len, bytes(100_000)).cancel()
            with self.pool.share([bytes(100_000)]) as handle:
                self.handles.append(handle)
                with contextlib.suppress(SharedHandleError):
                    self.send(len, handle)
                    self.send(len, [handle])
            view = self.pool.options(priority=1, limit_key="k", max_concurrency=1)
            limited = view.submit(square, 3)
            self.futures.append(limited)
            with contextlib.suppress(concurrent.futures.CancelledError):
                results = self.pool.map(square, range(4), chunksize=2)
                self.open.append(results)
                list(results)
                with self.pool.options(buffersize=4).stream(items, 6) as stream:
                    self.open.append(stream)
                    list(stream)
            for future in self.futures:
                future.exception() if not future.cancelled() else None

        # -- what handlers do ---------------------------------------------------------

        def submit(self):
            self.watch(self.send(square, 1))
            self.send(asquare, 1)

        def cancel(self):
            for future in self.futures:
                future.cancel()

        def look(self):
            assert self.now.result() == 1
            for future in self.futures:
                future.done()
                self.watch(future)
                future.running()

        def close(self):
            for one in self.open:
                one.close()
            repr(self.pool)

        def share(self):
            with self.pool.share(["shared"]) as handle:
                self.watch(self.send(len, handle))
            for handle in self.handles:
                handle.close()

        def resize(self):
            self.pool.resize(2)
            self.pool.resize(1)
            self.pool.options(retries=2)

        def shutdown(self):
            self.pool.shutdown()

        def ask(self):
            self.pool.shutdown(wait=False, cancel_futures=True)

        def leave(self):
            with self.pool:
                pass

        def kill(self):
            if os.environ["ENGINE"] != "thread":
                random.choice([self.pool.kill_workers, self.pool.terminate_workers])()
            self.pool.shutdown()

        def check(self, over):
            for future in self.futures + self.expected:
                with contextlib.suppress(*ENDED):
                    future.result(PATIENCE)
            if over:
                self.pool.shutdown()
            else:
                assert self.pool.submit(square, 3).result(PATIENCE) == 9
            end = time.monotonic() + PATIENCE
            wanted = collections.Counter(map(id, self.expected))
            while collections.Counter(self.called) != wanted:
                assert time.monotonic() < end, (self.called, wanted)
                time.sleep(0.001)

    ENDS = ("shutdown", "ask", "leave", "kill")

    def tried(pool, action, number):
        "Return where it was run, None if there is no such moment."
        run = Run(pool)
        moment = Moment(number, getattr(run, action))
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        sys._getframe().f_trace_opcodes = True  # before: CPython 3.12 asks for it only once
        sys.settrace(moment)
        try:
            run.flow()
        except ENDED as error:
            if action not in ENDS:
                raise
        finally:
            sys.settrace(None)
        if moment.place is not None:
            run.check(action in ENDS)
        faulthandler.cancel_dump_traceback_later()
        return moment.place

    def main():
        action, step = os.environ["ACTION"], int(os.environ["STEP"])
        places, pool = set(), None
        number = random.randint(1, step)
        while True:
            if pool is None or action in ENDS:
                pool = make()
            try:
                place = tried(pool, action, number)
            except BaseException:
                say("failed after moment", number)
                raise
            if place is None:
                break
            places.add(place)
            number += step
        pool.shutdown()
        say("moments", number, len(places))
        assert places
        say("all there")
"""

ACTIONS = {
    "submit": 41,
    "cancel": 41,
    "look": 41,
    "close": 41,
    "share": 41,
    "resize": 83,
    "shutdown": 83,
    "ask": 97,
    "leave": 149,
    "kill": 149,
}
"""Which moments are tried: each so many-th; with ``--full-matrix`` ten times as many."""


@on("thread", "fork")
@pytest.mark.parametrize("action", ACTIONS)
def test_a_handler_may_use_the_pool_at_any_moment(action, engine, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ACTION", action)
    monkeypatch.setenv("STEP", str(max(1, ACTIONS[action] // (10 if run_all() else 1))))
    with started(TEXT, tmp_path, engine=engine) as program:
        outcome = program.finish(55)
    outcome.assert_clean()
    assert outcome.out[-1] == "all there"
