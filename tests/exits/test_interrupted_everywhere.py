"""Fault: Ctrl-C at every moment at which the main thread can get it, one after another.

CPython looks for signals when a function begins, after a call, and when a loop goes round. A
trace function raises ``KeyboardInterrupt`` at the first such moment inside aplex, then in a new
run of the same few lines at the second, and so on, until a run comes to its end. After each,
every future that the program has got must have its result, no work may have run twice, and the
pool must serve.
"""

from __future__ import annotations

import pytest
from tests.support.programs import on, run_all, started

TEXT = """
    import collections, concurrent.futures, contextlib, dis, gc, itertools, pathlib, time
    import warnings

    LOOKS = {dis.opmap[name] for name in dis.opmap
             if name.startswith("CALL") or name in ("RESUME", "JUMP_BACKWARD")}
    RUNS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "runs")
    PATIENCE = 10

    class Moment:
        "Raises at the moment of that number."
        def __init__(self, number):
            self.left, self.last, self.place = number, {}, None

        def __call__(self, frame, event, argument):
            if self.place or "aplex" not in frame.f_code.co_filename:
                return None
            # CPython swallows what is raised in a finalizer, and says so.
            if frame.f_code.co_name == "__del__" or frame.f_back.f_code.co_name == "__del__":
                return None
            if frame.f_lineno is None:  # a generator that is being closed: the same
                return self
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if event == "opcode":
                before = self.last.get(frame)
                self.last[frame] = frame.f_code.co_code[frame.f_lasti]
                self.left -= before in LOOKS
                if not self.left:
                    self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                    self.last.clear()
                    raise KeyboardInterrupt
            return self

    def note(number, payload=b""):
        file = os.open(RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b"%d " % number)
        os.close(file)
        return number

    async def anote(number, payload=b""):
        return note(number)

    def items(count):
        yield from range(count)

    async def aitems(count):
        for number in range(count):
            yield number

    class Blocking:
        pool = property(lambda self: self._pool)
        def __init__(self):
            self.view = self._pool = make(pool_size=2)
        def submit(self, *call):
            return self.view.submit(*call)
        def read(self, work, count):
            with self.pool.options(buffersize=4).stream(work, count) as stream:
                return list(stream)
        def result(self, future):
            return future.result(PATIENCE)
        def close(self):
            self._pool.shutdown()

    class Awaiting(Blocking):
        def __init__(self):
            self._loop = asyncio.new_event_loop()
            self.view = self._pool = make(pool_size=2, awaitable=True)
        async def _submit(self, *call):
            return self.view.submit(*call)
        async def _read(self, work, count):
            async with self.pool.options(buffersize=4).stream(work, count) as stream:
                return [item async for item in stream]
        def read(self, *call):
            task = self._loop.create_task(self._read(*call))
            try:
                return self._loop.run_until_complete(task)
            except KeyboardInterrupt:
                if not task.done():  # else run_until_complete would not end
                    task.cancel()  # as asyncio.run does it
                    with contextlib.suppress(asyncio.CancelledError):
                        self._loop.run_until_complete(task)
                raise
        def submit(self, *call):
            return self._loop.run_until_complete(self._submit(*call))
        def result(self, future):
            # An interrupted loop may yet have to stop for what it was to wait for then.
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
            waiting = asyncio.wait_for(asyncio.shield(future), PATIENCE)
            return self._loop.run_until_complete(waiting)
        def close(self):
            super().close()
            self._loop.close()

    def few(caller, send):
        for future in [send(note), send(anote), send(note)]:
            caller.result(future)

    def lone(caller, send):
        caller.result(send(note))  # the short way of a work that is alone
        caller.view = caller.pool.options(max_concurrency=1)
        caller.result(send(note))  # read by it, then taken in by the long way

    def many(caller, send):
        for future in [send((note, anote)[i % 2]) for i in range(70)]:
            caller.result(future)

    def big(caller, send):
        for future in [send(note, bytes(300_000)), send(anote, bytes(300_000))]:
            caller.result(future)

    def cancel(caller, send):
        futures = [send((note, anote)[i % 2]) for i in range(6)]
        for future in futures:
            future.cancel()
        for future in futures:
            with contextlib.suppress(concurrent.futures.CancelledError, asyncio.CancelledError):
                caller.result(future)

    def resize(caller, send):
        for size in (3, 2):
            caller.pool.resize(size)
            caller.result(send(note))

    def limited(caller, send):
        limits = dict(max_concurrency=1, rate=150.0, limit_key="k", priority=1)
        caller.view = caller.pool.options(time_limit=60.0, deadline=60.0, **limits)
        few(caller, send)

    def streams(caller, send):
        for work in (items, aitems):
            assert caller.read(work, 9) == list(range(9))

    def interrupted(caller, scenario, moment, ids):
        "Run the scenario; return whether it was interrupted."
        futures = {}
        def send(work, *payload):
            number = next(ids)
            futures[number] = caller.submit(work, number, *payload)
            return futures[number]
        sys._getframe().f_trace_opcodes = True  # before: CPython 3.12 asks for it only once
        sys.settrace(moment)
        try:
            scenario(caller, send)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
            caller.view = caller.pool
        for number, future in futures.items():
            try:
                assert caller.result(future) == number
            except (concurrent.futures.CancelledError, asyncio.CancelledError):
                assert scenario is cancel
        return moment.place is not None

    def main():
        # So it is with any `await` if Ctrl-C comes when its coroutine has just been made.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")
        scenario = globals()[os.environ["SCENARIO"]]
        caller = (Awaiting if os.environ["FACE"] == "awaitable" else Blocking)()
        for work in (note, anote) * 4:
            caller.result(caller.submit(work, 0))
        number, ids, places = 1, itertools.count(1), set()
        while True:
            moment, began = Moment(number), time.monotonic()
            try:
                if not interrupted(caller, scenario, moment, ids):
                    break
                for work in (note, anote):
                    assert caller.result(caller.submit(work, 0)) == 0
                gc.collect()  # a task, its exception, and the stream that was being opened
                end = time.monotonic() + PATIENCE
                while "0 works waiting, 0 in flight" not in repr(caller.pool):
                    assert time.monotonic() < end, repr(caller.pool)
                    caller.result(caller.submit(note, 0))
                assert time.monotonic() < began + PATIENCE, "a result was there, and not seen"
            except BaseException:
                say("failed after moment", number, moment.place)
                raise
            places.add(moment.place)
            number += int(os.environ["STEP"])
        caller.close()
        runs = collections.Counter(pathlib.Path(RUNS).read_text().split())
        del runs["0"]
        assert set(runs.values()) <= {1}, [n for n in runs if runs[n] > 1]
        assert runs or scenario is streams
        assert places
        say("all there")
"""


STEPS = {
    "few": 5,
    "lone": 1,
    "many": 97,
    "big": 13,
    "cancel": 13,
    "resize": 61,
    "limited": 29,
    "streams": 29,
}
"""Which moments are tried: each so many-th; with ``--full-matrix`` five times as many."""


@on("thread", "template")
@pytest.mark.parametrize("face", ["blocking", "awaitable"])
@pytest.mark.parametrize("scenario", STEPS)
def test_ctrl_c_at_any_moment_loses_nothing(scenario, face, engine, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SCENARIO", scenario)
    monkeypatch.setenv("FACE", face)
    monkeypatch.setenv("STEP", str(max(1, STEPS[scenario] // (5 if run_all() else 1))))
    with started(TEXT, tmp_path, engine=engine) as program:
        outcome = program.finish(55)
    outcome.assert_clean()
    assert outcome.out == ["all there"]
