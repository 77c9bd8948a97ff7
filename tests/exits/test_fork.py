"""Fault tests: a program that forks while a pool lives; and pools inside of workers."""

from __future__ import annotations

import os
import select
import signal

import pytest
from tests.support.programs import NOISE, START_METHODS, on, one_in, run, started

engines = on("thread", "spawn", "fork")
processes = on("spawn", "fork", of=START_METHODS)

# Python 3.12 and later warn of every fork beside threads; that is not the point here.
FORK = """
    import multiprocessing, warnings
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)

    def wait_for_child(pid):
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


@engines
@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
def test_a_forked_copy_of_a_pool_is_dead_and_says_so(engine, leave, tmp_path) -> None:
    text = f"""{FORK}
    def main():
        with make() as pool:
            future = pool.submit(asquare, 2)
            assert future.result() == 4
            if not (pid := os.fork()):
                try:
                    pool.submit(square, 3)
                except RuntimeError as error:
                    say(error)
                try:
                    pool.map(square, [3])
                except RuntimeError as error:
                    say("no map")
                assert future.result() == 4
                pool.shutdown()
                {leave}
            wait_for_child(pid)
            assert pool.submit(square, 3).result() == 9
            assert pool.submit(asquare, 3).result() == 9
        say("parent well")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert len(outcome.out) == 3
    assert "fork" in outcome.out[0]
    assert "make a new one" in outcome.out[0]
    assert outcome.out[1:] == ["no map", "parent well"]


@processes
def test_a_forked_copy_of_a_pool_does_nothing_to_the_workers(engine, tmp_path) -> None:
    """Neither resizing nor ending its workers reaches those of the parent."""
    text = f"""{FORK}
    def main():
        with make() as pool:
            worker = pool.submit(os.getpid).result()
            view = pool.options(retries=1)
            if not (pid := os.fork()):
                for use in (lambda: view.submit(square, 3), lambda: pool.resize(3)):
                    try:
                        use()
                    except RuntimeError as error:
                        say("fork" in str(error))
                pool.terminate_workers()
                pool.kill_workers()
                try:
                    with pool:
                        raise KeyboardInterrupt
                except KeyboardInterrupt:
                    pass
                sys.exit(0)
            wait_for_child(pid)
            assert pool.submit(os.getpid).result() == worker
            pool.resize(2)
            assert list(pool.map(asquare, range(9))) == [x * x for x in range(9)]
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["True", "True"]


@engines
def test_a_fork_in_the_middle_of_works_disturbs_none(engine, tmp_path) -> None:
    text = f"""{FORK}
    async def slow(x):
        await asyncio.sleep(0.2)
        return x

    def main():
        with make() as pool:
            futures = [pool.submit(slow, x) for x in range(20)]
            futures += [pool.submit(square, x) for x in range(20)]
            for _ in range(3):
                if not (pid := os.fork()):
                    sys.exit(0)
                wait_for_child(pid)
            assert [f.result() for f in futures] == [*range(20), *(x * x for x in range(20))]
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


# No fork server: that of the parent is no child of the child, which multiprocessing minds.
@pytest.mark.parametrize("engine", ["thread", "spawn", "fork"])
def test_a_forked_child_makes_a_pool_of_its_own(engine, tmp_path) -> None:
    text = f"""{FORK}
    def main():
        with make() as pool:
            assert pool.submit(square, 2).result() == 4
            if not (pid := os.fork()):
                with make() as own:
                    assert own.submit(square, 3).result() == 9
                    assert own.submit(asquare, 3).result() == 9
                global left_open
                left_open = make()
                left_open.submit(square, 3)
                sys.exit(0)
            wait_for_child(pid)
            assert pool.submit(square, 2).result() == 4
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@processes
def test_a_child_that_lives_on_hides_no_death(engine, tmp_path) -> None:
    """A forked child must not keep the workers of the dead parent alive."""
    text = f"""{FORK}
    def main():
        global pool
        pool = make()
        say("worker", pool.submit(os.getpid).result())
        if not os.fork():
            say("child runs")
            time.sleep(60)
        time.sleep(60)
    """
    with started(text, tmp_path, engine=engine) as program:
        worker = int(program.said("worker"))
        program.wait_for("child runs")
        fd = os.pidfd_open(worker)
        try:
            program.signal(signal.SIGKILL)
            program.process.wait()
            assert select.select([fd], [], [], 2 + NOISE)[0], "the worker lives on"
        finally:
            os.close(fd)


@engines
def test_a_child_of_multiprocessing_beside_a_pool(engine, tmp_path) -> None:
    text = f"""{FORK}
    def main():
        with make() as pool:
            assert pool.submit(square, 2).result() == 4
            process = multiprocessing.get_context("fork").Process(target=square, args=(2,))
            process.start()
            process.join()
            assert process.exitcode == 0
            assert pool.submit(square, 2).result() == 4
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@engines
def test_a_program_that_a_work_forks_off_is_inert(engine, tmp_path) -> None:
    text = f"""{FORK}
    def fork():
        if not (pid := os.fork()):
            os._exit(0)
        wait_for_child(pid)

    def main():
        with make() as pool:
            pool.submit(fork).result()
            assert pool.submit(asquare, 2).result() == 4
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@one_in(2, engine=START_METHODS, inner=["spawn", "fork", "thread"])
def test_a_work_makes_a_pool_of_its_own(engine, inner, tmp_path) -> None:
    text = f"""{FORK}
    def nested():
        os.environ["ENGINE"] = {inner!r}
        with make() as pool:
            return pool.submit(square, 2).result() + pool.submit(asquare, 3).result()

    async def anested():
        os.environ["ENGINE"] = {inner!r}
        async with make(awaitable=True) as pool:
            return await pool.submit(square, 2) + await pool.submit(asquare, 3)

    def main():
        with make() as pool:
            assert pool.submit(nested).result() == 13
            assert pool.submit(anested).result() == 13
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@one_in(2, engine=START_METHODS, inner=["spawn", "fork"])
def test_a_pool_that_a_work_leaves_open_goes_with_its_worker(engine, inner, tmp_path) -> None:
    """As if the worker were a program that exits."""
    text = f"""{FORK}
    def nested():
        global left_open
        os.environ["ENGINE"] = {inner!r}
        left_open = make(exit_grace=0.2)
        return left_open.submit(asquare, 2).result()

    def main():
        with make() as pool:
            assert pool.submit(nested).result() == 4
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.seconds < 3 + NOISE


@processes
def test_nested_workers_do_not_outlive_the_program(engine, tmp_path) -> None:
    text = """
    def nested():
        with make() as pool:
            pool.submit(sleep, 60).result()

    def main():
        with make() as pool:
            pool.submit(nested).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.wait_for("running")
        program.signal(signal.SIGKILL)
        outcome = program.finish()
    assert outcome.err == ""


def test_a_worker_is_not_forked_in_the_middle_of_an_import_that_it_needs(tmp_path) -> None:
    text = """
    class SlowFinder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "cloudpickle.cloudpickle":
                say("importing")
                time.sleep(0.5)  # in which the worker would be forked

    def main():
        sys.meta_path.insert(0, SlowFinder)
        with make() as pool:
            first = pool.submit(square, 2)  # has the worker forked, in another thread
            second = pool.submit(lambda: 9)  # needs cloudpickle, here and in the worker
            say(first.result(10), second.result(10))
    """
    outcome = run(text, tmp_path, engine="fork")
    outcome.assert_clean()
    assert outcome.out[0] == "importing"
    assert outcome.out[-1] == "4 9"


@processes
def test_a_result_stays_as_it_is_in_a_forked_child(engine, tmp_path) -> None:
    """Whatever the parent does with its own, and whatever its worker puts there next.

    Nor does the parent see what the child does to its copy, while the pool lives and after it.
    """
    text = f"""{FORK}
    import pickle

    class Array:
        def __init__(self, data):
            self.data = data

        def __reduce_ex__(self, protocol):
            return Array, (pickle.PickleBuffer(self.data),)

    def array_of(value, count):
        return Array(bytearray([value]) * count)

    def forked(array):
        '''Ask a child, when it is told to, what it sees.'''
        read, tell = os.pipe()
        if not (pid := os.fork()):
            os.close(tell)
            os.read(read, 1)
            seen = bytes(array.data[:3]) + bytes(array.data[-3:])
            array.data[:3] = b"abc"
            os._exit(seen != bytes([1]) * 6)
        os.close(read)
        return pid, tell

    def main():
        with make() as pool:
            array = pool.submit(array_of, 1, 100_000).result()
            other = pool.submit(array_of, 1, 100_000).result()
            children = [forked(array), forked(other)]
            array.data[:3] = b"xyz"
            del other
            for value in range(2, 8):
                assert bytes(pool.submit(array_of, value, 100_000).result().data[:1])[0] == value
            last = pool.submit(array_of, 1, 100_000).result()
        children.append(forked(last))
        for pid, tell in children:
            os.write(tell, b"now")
            wait_for_child(pid)
        assert bytes(array.data[:3]) == b"xyz"
        assert bytes(last.data[:3]) == bytes([1]) * 3
        say("as they were")
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[-1] == "as they were"
