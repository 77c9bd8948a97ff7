"""The template process: workers that are forked from it find what spawned ones would find."""

from __future__ import annotations

import signal

from tests.support.programs import started

TEMPLATE = "template"


def test_the_main_module_is_imported_once_for_all_workers(tmp_path) -> None:
    """Also for those that replace others, and those of a pool that grows."""
    text = """
    with open(f"{__file__}.log", "a") as log:
        log.write(f"{__name__}\\n")

    def main():
        with make(pool_size=3) as pool:
            pool.start()
            os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
            pool.resize(4)
            pool.start()
            say(pool.submit(asquare, 3).result())
        with open(f"{__file__}.log") as log:
            say(*log.read().split())
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["9", "__main__ __mp_main__"]


def test_what_is_preloaded_is_there_before_a_worker_begins(tmp_path) -> None:
    (tmp_path / "slowly.py").write_text("import os\nwhere = os.getpid()\n")
    text = """
    def loaded():
        return sys.modules["slowly"].where != os.getpid()

    def main():
        with make(preload=["slowly"]) as pool:
            say(pool.submit(loaded).result(), "slowly" in sys.modules)
        with make(preload=["nowhere"], max_restarts=0) as pool:
            say(pool.submit(loaded).exception())
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[0] == "True False"
    assert "its last words: ModuleNotFoundError: No module named 'nowhere'" in outcome.out[1]


def test_a_worker_begins_as_its_parent_is_then(tmp_path) -> None:
    """Environment, working directory, path, arguments, and standard streams."""
    text = f"""
    def seen():
        say("worker")
        return os.environ.get("FRUIT"), os.environ.get("GONE"), os.getcwd(), sys.path[0], sys.argv

    def main():
        os.environ["GONE"] = "1"
        with make() as pool:
            pool.submit(seen).result()
            del os.environ["GONE"]
            os.environ["FRUIT"] = "apple"
            os.chdir("/")
            sys.path.insert(0, "/somewhere")
            sys.argv.append("more")
            with open({str(tmp_path / "out")!r}, "w") as file:
                stdout = os.dup(1)
                os.dup2(file.fileno(), 1)
                pool.resize(2)
                pool.start()
                os.dup2(stdout, 1)
            old = pool.submit(seen).result()
            os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
            pool.resize(1)
            pool.resize(2)
            pool.start()
            found = [pool.submit(seen).result() for _ in range(4)]
            assert ("apple", None, "/", "/somewhere", sys.argv) in found, found
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        program.finish().assert_clean()


def test_random_numbers_are_every_workers_own(tmp_path) -> None:
    text = """
    import random
    import numpy

    def numbers():
        time.sleep(0.05)
        return os.getpid(), random.random(), numpy.random.random()

    def main():
        with make(pool_size=3) as pool:
            pool.start()
            found = {}
            for future in [pool.submit(numbers) for _ in range(9)]:
                pid, *rest = future.result()
                found.setdefault(pid, rest)
        say(len(found), len({a for a, _ in found.values()}), len({b for _, b in found.values()}))
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["3 3 3"]


def test_a_template_with_threads_is_not_used(tmp_path) -> None:
    text = """
    import logging

    logging.basicConfig()
    threading.Thread(target=threading.Event().wait, name="ticker", daemon=True).start()

    def main():
        with make(pool_size=2) as pool:
            say(pool.submit(asquare, 3).result())
            pool.start()
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    assert outcome.out == ["9"]
    assert outcome.err.count("\n") == 1, outcome.err
    assert "starts threads (ticker), so workers are not forked from a template" in outcome.err
    assert "mp_context='spawn'" in outcome.err


def test_a_thread_that_a_fork_may_leave_behind_is_none(tmp_path) -> None:
    """That of jemalloc, which pyarrow starts, and pandas imports; workers allocate with it."""
    text = """
    import pathlib
    import pyarrow.compute

    def has_it():
        tasks = pathlib.Path("/proc/self/task").iterdir()
        return any((task / "comm").read_text() == "jemalloc_bg_thd\\n" for task in tasks)

    def added(count):
        column = pyarrow.array(range(count))
        return has_it(), pyarrow.compute.sum(column).as_py(), os.getppid()

    def main():
        assert has_it(), "pyarrow starts none any more"
        with make(pool_size=2) as pool:
            told = list(pool.map(added, [100_000] * 50))
            say({each[:2] for each in told}, {parent == os.getpid() for _, _, parent in told})
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["{(False, 4999950000)} {False}"]


def test_a_main_module_that_hangs_is_given_up(tmp_path) -> None:
    text = """
    if __name__ != "__main__":
        time.sleep(1000)

    def main():
        with make(start_timeout=0.5, max_restarts=0) as pool:
            say(pool.submit(square, 3).exception())
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert "did not become ready within 0.5 s (start_timeout)" in outcome.out[0]


def test_exit_handlers_run_in_the_process_that_has_registered_them(tmp_path) -> None:
    """As after any fork of ``multiprocessing``: a worker runs none of the template's."""
    text = """
    import atexit, multiprocessing

    def tell():
        say("exit", multiprocessing.current_process().name)

    atexit.register(tell)

    def alive():
        atexit.register(tell)
        return multiprocessing.parent_process().is_alive()

    def main():
        with make(pool_size=2) as pool:
            pool.start()
            say(pool.submit(alive).result())
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[0] == "True"
    workers = [line for line in outcome.out[1:] if "ProcessAsyncPoolExecutor-1-" in line]
    assert len(workers) == 1
    assert sorted(outcome.out[1:]) == sorted([*workers, "exit MainProcess"])


def test_nothing_outlives_a_killed_program(tmp_path) -> None:
    text = """
    def main():
        global pool
        pool = make(pool_size=2)
        pool.start()
        pool.submit(sleep, 60)
        time.sleep(60)
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        program.wait_for("running")
        assert len(program.descendants()) >= 3
        program.signal(signal.SIGKILL)
        program.finish().assert_clean(code=-signal.SIGKILL)


def test_no_descriptor_is_mistaken_for_a_standard_stream(tmp_path) -> None:
    """A daemon that has closed them may have anything at their numbers."""
    text = """
    import socket, stat

    def has_socket():
        return stat.S_ISSOCK(os.fstat(0).st_mode)

    def main():
        os.close(0)
        ours, theirs = socket.socketpair()
        with ours, theirs, make() as pool:
            say(ours.fileno(), pool.submit(has_socket).result())
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.out == ["0 False"]


def test_successors_leave_nothing(tmp_path) -> None:
    """Descriptors, zombies and memory of program and template."""
    text = """
    def resident(pid):
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1])

    def state(pid):
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")")[-1].split()[0]

    def look(template):
        children = []
        for parent in (os.getpid(), template):
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                children += file.read().split()
        fds = [len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), template)]
        return fds, len(children), [child for child in children if state(child) == "Z"]

    def replaced(pool, count):
        for _ in range(count):
            os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
            try:
                pool.submit(square, 1).result()
            except Exception:
                pass

    def main():
        with make(pool_size=1, max_restarts=10**6) as pool:
            template = pool.submit(os.getppid).result()
            replaced(pool, 20)
            pool.submit(square, 1).result()
            before, memory = look(template), resident(template)
            replaced(pool, 300)
            pool.submit(square, 1).result()
            end = time.monotonic() + 10
            while look(template) != before and time.monotonic() < end:
                time.sleep(0.01)
            say(look(template) == before or (before, look(template)))
            say(resident(template) - memory < 256)
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["True", "True"]


def test_a_fork_of_the_program_closes_its_copies(tmp_path) -> None:
    """Or the template would not end with the program."""
    text = """
    def main():
        pool = make()
        pool.submit(square, 1).result()
        template = pool._manager._backend._starter._template
        pid = os.fork()
        if pid == 0:
            say(template._control is None)
            os._exit(0)
        os.waitpid(pid, 0)
        say(pool.submit(square, 2).result())
        pool.shutdown()
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    assert outcome.out == ["True", "4"]
    assert outcome.code == 0


def test_a_scripts_name_is_that_of_its_processes(tmp_path) -> None:
    text = """
    def name(pid):
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()

    def main():
        with make() as pool:
            say(name(pool.submit(os.getppid).result()), name(pool.submit(os.getpid).result()))
    """
    with started(text, tmp_path, engine=TEMPLATE) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["aplex-template aplex-worker-1"]
