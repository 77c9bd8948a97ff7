"""Signal handlers that shut down, and callbacks that take their time. The whole of a program."""

from __future__ import annotations

import pytest
from tests.support.programs import on, started

some = on("thread", "template")

IN_A_STEP = """
    import concurrent.futures, faulthandler
    from aplex.load_balancers import RoundRobin

    class Breaking(RoundRobin):
        "A signal comes in the middle of a step: the pool has its lock then."
        def get_proper_worker(self, load_balancing_meta):
            signal.raise_signal(signal.SIGUSR1)
            return super().get_proper_worker(load_balancing_meta)

    def handling(handler):
        signal.signal(signal.SIGUSR1, handler)
        faulthandler.dump_traceback_later(20, exit=True)
"""


@some
@pytest.mark.parametrize("call", ["shutdown()", "__exit__(None, None, None)", "kill_workers()"])
def test_a_shutdown_that_breaks_into_submit_does_not_wait(call, engine, tmp_path) -> None:
    """The pool goes when ``submit`` has left: what was submitted until then is done."""
    text = f"""{IN_A_STEP}
    def main():
        pool = make(load_balancer=Breaking)
        handling(signal.SIG_IGN)
        pool.submit(square, 1).result()  # from now on the balancer is asked in this thread
        pool.kill_workers = getattr(pool, "kill_workers", pool.shutdown)
        handling(lambda *_: pool.{call})
        future = pool.submit(square, 3)
        pool.shutdown()
        if "kill" not in "{call}":
            assert future.result(0) == 9
        assert future.done()
        try:
            pool.submit(square, 3)
        except RuntimeError:
            say("refused")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["refused"]


@some
def test_a_shutdown_in_a_handler_waits_where_it_can(engine, tmp_path) -> None:
    """The main thread waits for a result, and reads the reports: the handler goes on with it."""
    text = f"""{IN_A_STEP}
    def main():
        pool = make()
        def handler(*_):
            pool.shutdown()
            say("gone" if pool._manager.gone.done() else "not gone")
        pool.submit(square, 3).result()
        future = pool.submit(sleep, 0.5)
        handling(handler)
        threading.Timer(0.2, signal.pthread_kill,
                        (threading.main_thread().ident, signal.SIGUSR1)).start()
        future.result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["running", "finished", "gone"]


@some
def test_a_handler_that_breaks_into_a_step_must_not_wait_for_a_result(engine, tmp_path) -> None:
    text = f"""{IN_A_STEP}
    async def nap(seconds):
        await asyncio.sleep(seconds)

    def main():
        with make() as pool:
            future = pool.submit(nap, 0.5)
            def handler(*_):
                try:
                    future.result()
                except RuntimeError as error:
                    say("would" if "would wait for ever" in str(error) else error)
                assert future.cancel() and not future.done()
            handling(handler)
            pool._manager.within(lambda: signal.raise_signal(signal.SIGUSR1))
            try:
                future.result()
            except concurrent.futures.CancelledError:
                say("cancelled")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["would", "cancelled"]


@some
def test_a_handler_closes_the_stream_that_its_thread_reads(engine, tmp_path) -> None:
    text = f"""{IN_A_STEP}
    def slow(path):
        yield 1
        while not os.path.exists(path):
            time.sleep(0.01)
        yield 2
        yield 3

    def main():
        with make() as pool:
            stream = pool.stream(slow, os.path.abspath(__file__) + ".go")
            def handler(*_):
                open(os.path.abspath(__file__) + ".go", "w").close()
                stream.close()
                say("closed")
            assert next(stream) == 1
            handling(handler)
            threading.Timer(0.2, signal.pthread_kill,
                            (threading.main_thread().ident, signal.SIGUSR1)).start()
            assert list(stream) == []
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["closed"]


@some
def test_a_finalizer_may_cancel_submit_and_close_in_the_middle_of_a_step(engine, tmp_path) -> None:
    text = f"""{IN_A_STEP}
    class Owner:
        def __init__(self, pool, futures):
            self.pool, self.futures, self.results = pool, futures, pool.map(asquare, range(5))
        def __del__(self):
            self.futures[0].cancel()
            self.futures.append(self.pool.submit(square, 4))
            self.results.close()

    def main():
        with make(load_balancer=Breaking) as pool:
            handling(signal.SIG_IGN)
            pool.submit(square, 1).result()
            futures = [pool.submit(endless)]
            owners = [Owner(pool, futures)]
            handling(lambda *_: owners.clear())
            assert pool.submit(square, 3).result() == 9
            assert futures[1].result() == 16
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
