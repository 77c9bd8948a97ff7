"""Fault: Ctrl-C at any moment while the main thread takes in results itself.

It reads the workers' channels when it waits for a result. Whoever catches ``KeyboardInterrupt``
and goes on must find every result, and each of them right.
"""

from __future__ import annotations

from tests.support.programs import on, started

TEXT = """
    import random

    armed = False
    ended = False
    interrupts = 0

    def interrupt(number, frame):
        global armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    def press():
        while not ended:
            time.sleep(random.random() * 0.004)  # at any moment, that is the point
            os.kill(os.getpid(), signal.SIGINT)

    def collect(futures, place):
        global armed
        armed = True
        while place[0] < len(futures):
            assert futures[place[0]].result(timeout=20) == place[0] ** 2
            place[0] += 1
        armed = False

    def main():
        global ended, interrupts
        signal.signal(signal.SIGINT, interrupt)
        with make(pool_size=2) as pool:
            pool.submit(square, 1).result()
            threading.Thread(target=press, daemon=True).start()
            for _ in range(20):
                futures = [pool.submit((square, asquare)[i % 2], i) for i in range(1000)]
                place = [0]
                while place[0] < len(futures):
                    try:
                        collect(futures, place)
                    except KeyboardInterrupt:
                        interrupts += 1
            ended = True
        assert interrupts > 5, interrupts
        say("all there")
"""


@on("thread", "template")
def test_no_result_is_lost_by_ctrl_c(engine, tmp_path) -> None:
    with started(TEXT, tmp_path, engine=engine) as program:
        outcome = program.finish(50)
    outcome.assert_clean()
    assert outcome.out == ["all there"]


AFTER_THE_READ = """
    from aplex._manager.manager import Manager

    received = Manager._receive_alone
    breaks, futures = [], []

    def receive_alone(self, worker, read):
        left = received(self, worker, read)
        if left is not None and threading.current_thread() is threading.main_thread():
            if not breaks:
                breaks.append(left)
                raise KeyboardInterrupt
        return left

    async def ask(pool, x):
        futures.append(pool.submit(square, x))

    def main():
        loop = asyncio.new_event_loop()  # which reads, so the interrupt comes out of its callback
        pool = make(pool_size=1, awaitable=True)
        loop.run_until_complete(ask(pool, 1))
        assert loop.run_until_complete(futures[0]) == 1
        view = pool.options(max_concurrency=1)  # its result is not taken in the short way
        Manager._receive_alone = receive_alone
        try:
            loop.run_until_complete(ask(view, 3))
            loop.run_until_complete(futures[1])
        except KeyboardInterrupt:
            say("interrupted")
        loop.call_soon(loop.stop)  # the broken run may yet have to stop the loop
        loop.run_forever()
        assert loop.run_until_complete(asyncio.wait_for(futures[1], 10)) == 9
        pool.shutdown()
        loop.close()
        say("all there")
"""


def test_a_result_that_was_read_is_not_lost_before_it_is_taken_in(tmp_path) -> None:
    with started(AFTER_THE_READ, tmp_path, engine="template") as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["interrupted", "all there"]
