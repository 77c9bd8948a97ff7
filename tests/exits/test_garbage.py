"""Exit tests: executors that nobody shut down and nobody holds any more; loops that must not block.

Garbage collection lets the submitted works finish, then leaves no process, thread or descriptor.
"""

from __future__ import annotations

from tests.support.programs import NOISE, on, started

every = on("thread", "template", "forkserver", "fork")
some = on("thread", "template")

CENSUS = """
    import gc, multiprocessing

    def wait_until_only_main_is_left():
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(20)
                assert not thread.is_alive(), thread
        for process in multiprocessing.active_children():
            process.join(20)
            assert process.exitcode is not None, process

    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def warm_up():
        # The resource tracker and the fork server stay: they are multiprocessing's.
        with make() as pool:
            pool.submit(square, 2).result()
"""


@every
def test_garbage_finishes_its_works_and_leaves_nothing(engine, tmp_path) -> None:
    text = f"""{CENSUS}
    def main():
        warm_up()
        before = descriptors()
        pool = make()
        futures = [pool.submit(sleep, 0.2), pool.submit(square, 3), pool.submit(asquare, 4)]
        del pool
        gc.collect()
        assert futures[1].result() == 9
        assert futures[2].result() == 16
        del futures
        wait_until_only_main_is_left()
        assert descriptors() == before, (descriptors(), before)
        say("nothing left")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["running", "finished", "nothing left"]


@every
def test_an_executor_that_was_never_used_leaves_nothing(engine, tmp_path) -> None:
    text = f"""{CENSUS}
    def main():
        warm_up()
        before = descriptors()
        for _ in range(20):
            make()
        wait_until_only_main_is_left()
        assert descriptors() == before, (descriptors(), before)
        pools = [make() for _ in range(20)]
        for pool in pools:
            pool.shutdown()
        assert descriptors() == before, (descriptors(), before)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@some
def test_an_executor_in_a_cycle_is_collected_in_any_thread(engine, tmp_path) -> None:
    text = f"""{CENSUS}
    class Owner:
        def __init__(self):
            self.me = self
            self.pool = make()
            self.futures = [self.pool.submit(asquare, i) for i in range(10)]

    def main():
        gc.disable()
        warm_up()
        before = descriptors()
        Owner()
        collector = threading.Thread(target=gc.collect)
        collector.start()
        collector.join()
        wait_until_only_main_is_left()
        assert descriptors() == before, (descriptors(), before)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@some
def test_an_awaitable_executor_is_collected_too(engine, tmp_path) -> None:
    text = f"""{CENSUS}
    async def amain():
        pool = make(awaitable=True)
        future = pool.submit(asquare, 3)
        del pool
        gc.collect()
        assert await future == 9
        while threading.active_count() > 1:
            await asyncio.sleep(0.01)

    def main():
        warm_up()
        before = descriptors()
        asyncio.run(amain())
        wait_until_only_main_is_left()
        assert descriptors() == before, (descriptors(), before)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@some
def test_an_endless_coroutine_of_a_collected_executor_ends_with_the_program(
    engine, tmp_path
) -> None:
    text = """
    import gc

    def main():
        pool = make(exit_grace=0.2)
        pool.submit(endless)
        pool.submit(asquare, 2).result()
        del pool
        gc.collect()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.err.startswith("aplex: cancelled 1 coroutine work ")
    assert outcome.err.count("\n") == 1
    assert outcome.out == ["running", "cleaned up"]


@some
def test_a_plain_with_inside_a_coroutine_finishes(engine, tmp_path) -> None:
    """It blocks the loop that reads the reports, and must not wait for itself."""
    text = """
    async def amain():
        with make(awaitable=True) as pool:
            futures = [pool.submit(asquare, i) for i in range(20)]
            futures.append(pool.submit(square, 20))
        assert await asyncio.gather(*futures) == [i * i for i in range(21)]
        with make(awaitable=True) as pool:
            assert await pool.submit(square, 3) == 9
            futures = [pool.submit(asquare, i) for i in range(20)]
        assert await asyncio.gather(*futures) == [i * i for i in range(20)]

    def main():
        asyncio.run(amain())
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.seconds < 3 + NOISE


@some
def test_shutdown_in_a_callback_does_not_wait_for_itself(engine, tmp_path) -> None:
    text = """
    def main():
        pool = make()
        future = pool.submit(square, 3)
        shut = threading.Event()
        future.add_done_callback(lambda _: (pool.shutdown(), shut.set()))
        assert shut.wait(20)
        pool.shutdown()
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
def test_many_threads_shut_down_at_once(engine, tmp_path) -> None:
    text = """
    def main():
        for _ in range(3):
            pool = make()
            futures = [pool.submit(asquare, i) for i in range(50)]
            threads = [threading.Thread(target=pool.shutdown) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [future.result(0) for future in futures] == [i * i for i in range(50)]
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()
