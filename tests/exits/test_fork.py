"""Fault tests: a program that forks while a pool lives; and pools inside of workers."""

from __future__ import annotations

import os
import select
import signal

import pytest
from tests.support.programs import NOISE, START_METHODS, on, one_in, run, started

engines = on("thread", "template", "fork")
processes = on("template", "fork", of=START_METHODS)

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


@pytest.mark.smoke
@engines
def test_an_executor_that_was_made_before_a_fork_is_used_after_it(engine, tmp_path) -> None:
    """As servers do that load a program before they fork; in the parent, too, and side by side.

    Streams and executors that are dropped in the child are closed there.
    """
    text = f"""{FORK}
    import gc

    def numbers():
        try:
            yield from range(1000)
        finally:
            say("closed")

    def use():
        global pool
        assert pool.submit(square, 3).result() == 9
        assert pool.submit(asquare, 3).result() == 9
        assert list(pool.map(square, range(5))) == [0, 1, 4, 9, 16]
        stream = pool.stream(numbers)
        assert next(stream) == 0
        del stream
        gc.collect()
        while "0 works waiting, 0 in flight" not in repr(pool):
            time.sleep(0.01)  # its worker closes it
        before = threading.active_count()
        del pool
        gc.collect()
        end = time.monotonic() + 10
        while threading.active_count() > 1 and time.monotonic() < end:
            time.sleep(0.01)
        say("gone", before > threading.active_count() == 1)

    def main():
        global pool
        pool = make()
        children = []
        for _ in range(2):
            if not (pid := os.fork()):
                use()
                sys.exit(0)
            children.append(pid)
        for pid in children:
            wait_for_child(pid)
        use()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert sorted(outcome.out) == ["closed"] * 3 + ["gone True"] * 3


@on("thread", "template")
def test_an_executor_of_a_parent_is_used_in_a_child_of_multiprocessing(engine, tmp_path) -> None:
    """And never shut down there: the exit of the child sees to that."""
    text = f"""{FORK}
    def use():
        pool.submit(sleep, 0.1)
        assert pool.submit(asquare, 3).result() == 9

    def main():
        global pool
        pool = make()
        process = multiprocessing.get_context("fork").Process(target=use)
        process.start()
        process.join()
        assert process.exitcode == 0
        pool.shutdown()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["running", "finished"]


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


LEAVE = {
    "return 0": 0,
    "sys.exit(3)": 3,
    "raise KeyError('of the copy')": 1,
    "exit_by_itself()": 7,
}
"""How a forked child leaves a function, and the exit status that it then has."""


@pytest.mark.parametrize("lane", ["plain", "coroutine", "waiting", "stream", "chunk", "achunk"])
@on("thread", "template")
def test_a_copy_that_leaves_its_work_ends_at_once(engine, lane, tmp_path) -> None:
    """It reports nothing, takes no works, and runs no other one that its parent runs."""
    text = f"""{FORK}
    LEAVE = {LEAVE!r}

    def exit_by_itself():
        os.execv(sys.executable, [sys.executable, "-c", "raise SystemExit(7)"])

    def fork(how):
        if pid := os.fork():
            return pid
        exec("def leave():\\n " + how, globals())
        return leave()

    async def afork(how):
        return fork(how)

    async def fork_and_wait(how):
        never = asyncio.get_running_loop().create_future()  # which there is none in the copy
        pid = fork(how)
        if not pid:
            await never
        return pid

    def numbers(how):
        yield fork(how)
        yield from range(3)

    def fork_first(number, how):
        say("ran")
        return number or fork(how)

    async def afork_first(number, how):
        say("ran")
        return number or fork(how)

    async def aran():
        await asyncio.sleep(0)
        say("ran")

    def ran():
        say("ran")

    def use(pool, how):
        if {lane!r} in ("plain", "coroutine", "waiting"):
            work = dict(plain=fork, coroutine=afork, waiting=fork_and_wait)[{lane!r}]
            forked = pool.submit(work, how)
            others = [pool.submit(work) for work in 5 * [ran, aran]]
            [other.result() for other in others]
            return forked.result()
        if {lane!r} == "stream":
            [pool.submit(aran).result() for _ in range(10)]
            first, *rest = pool.stream(numbers, how)
            assert rest == [0, 1, 2]
            return first
        work = fork_first if {lane!r} == "chunk" else afork_first
        first, *rest = pool.map(work, range(10), [how] * 10, chunksize=10)
        assert rest == [*range(1, 10)]
        return first

    def main():
        for how, status in LEAVE.items():
            with make() as pool:
                copy = use(pool, how)
                assert copy != 0, "the copy has reported"
                ended = pool.submit(os.waitpid, copy, 0).result(10)
                assert os.waitstatus_to_exitcode(ended[1]) == status, (how, ended)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.out == ["ran"] * 10 * len(LEAVE)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("Traceback") == 1
    assert outcome.err.endswith("KeyError: 'of the copy'\n")


@on("thread", "template")
def test_what_a_work_starts_goes_on_working(engine, tmp_path) -> None:
    text = f"""{FORK}
    import subprocess

    def target(queue):
        queue.put(asyncio.run(asquare(3)))

    def starts():
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=target, args=(queue,))
        process.start()
        process.join()
        with context.Pool(1) as pool:
            squares = pool.map(square, range(3))
        said = subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, text=True)
        return process.exitcode, queue.get(), squares, said.stdout

    async def astarts():
        return starts()

    def main():
        with make() as pool:
            for work in (starts, astarts):
                assert pool.submit(work).result() == (0, 9, [0, 1, 4], "7\\n")
            assert pool.submit(asquare, 2).result() == 4
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@one_in(2, engine=START_METHODS, inner=["template", "fork", "thread"])
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


@one_in(2, engine=START_METHODS, inner=["template", "fork"])
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
