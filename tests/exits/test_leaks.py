"""Leak tests: what is there before 50 pools were opened and closed is there after them. No more."""

from __future__ import annotations

import pytest
from tests.support.programs import ENGINES, START_METHODS, on, started

TEXT = """
    import gc, tempfile

    def census():
        gc.collect()
        return {
            "descriptors": descriptors(),
            "threads": threading.enumerate(),
            "children": children(),
            "temporary files": sorted(os.listdir(tempfile.gettempdir())),
            "mappings": mappings(),
        }

    def descriptors():
        kinds = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                kinds.append(os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
            except FileNotFoundError:  # the one that listed the folder
                pass
        return sorted(kinds)

    def children():
        pids = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                pids += file.read().split()
        return sorted(pids)

    def mappings():
        with open("/proc/self/maps") as file:
            return sum("aplex" in line for line in file)

    def echo(x):
        return x

    def cycle(i):
        if i % 2:
            with make() as pool:
                assert pool.submit(square, i).result() == i * i
                if i % 10 == 1:
                    assert pool.submit(asquare, i).result() == i * i
                    big = bytes(1_000_000)
                    assert pool.submit(echo, big).result() == big
        else:
            asyncio.run(acycle(i))

    async def acycle(i):
        async with make(awaitable=True) as pool:
            assert await pool.submit(square, i) == i * i
            if i % 10 == 2:
                assert await pool.submit(asquare, i) == i * i

    def main():
        for i in range(3):  # what stays for good: the resource tracker, the fork server
            cycle(i)
        shared, before = set(os.listdir("/dev/shm")), census()
        for i in range(50):
            cycle(i)
        after = census()
        assert after == before, (before, after)
        # Other programs of this machine use the folder, too: theirs go when they end.
        deadline = time.monotonic() + 5
        while new := set(os.listdir("/dev/shm")) - shared:
            assert time.monotonic() < deadline, new
            time.sleep(0.1)
        say("nothing left")
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_fifty_pools_leave_nothing(engine, tmp_path) -> None:
    with started(TEXT, tmp_path, engine=engine) as program:
        outcome = program.finish(60)
    outcome.assert_clean()
    assert outcome.out == ["nothing left"]


@on("thread", "template")
def test_pools_in_many_threads_leave_nothing(engine, tmp_path) -> None:
    text = f"""{TEXT.replace("def main", "def other_main")}
    def use():
        for i in range(3):
            with make() as pool:
                assert list(pool.map(square, range(10))) == [x * x for x in range(10)]

    def main():
        cycle(1)
        cycle(2)
        before = census()
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = census()
        assert after == before, (before, after)
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@on("template", "forkserver", "fork", of=START_METHODS)
def test_a_pool_without_descriptors_ends_and_gives_them_back(engine, tmp_path) -> None:
    """There are too few for all workers. Nothing that notes an end may want one, for an import."""
    text = """
    import gc, resource

    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def main():
        with make() as pool:  # multiprocessing keeps some for good
            assert pool.submit(square, 3).result() == 9
        del pool
        before = descriptors()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        for name in ("resource", "multiprocessing.connection"):
            sys.modules.pop(name, None)  # an import of it would open its file
        with make(pool_size=40) as pool:
            assert [future.result() for future in [pool.submit(square, 3) for _ in range(200)]]
            pool.submit(os._exit, 3).exception()
            assert pool.submit(asquare, 3).result() == 9
        assert not pool._manager.pool.broken
        del pool
        say("left", descriptors() - before)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    if engine == "forkserver" and outcome.err.endswith("\nEOFError\n"):
        # Its server tells of a start for which there was no descriptor to send.
        assert outcome.err.count("Traceback") == outcome.err.count("reduction.recvfds")
        assert outcome.code == 0
    else:
        outcome.assert_clean()
    assert outcome.out == ["left 0"]
