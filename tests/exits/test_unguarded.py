"""Contract tests: whole programs that use a pool at their top level, without any guard."""

from __future__ import annotations

import sys
import textwrap

import pytest
from tests.support.programs import PRELUDE, START_METHODS, Outcome, command, on

spawned = on("template", "spawn", "forkserver", of=["template", "spawn", "forkserver"])
everywhere = on("template", "spawn", "forkserver", "fork", of=START_METHODS)


def run(text, folder, engine, name="program.py") -> Outcome:
    """Run a program as it is; its top level says so."""
    (folder / name).write_text(f"{PRELUDE}say('top level')\n{textwrap.dedent(text)}")
    with command([str(folder / name)], engine=engine) as program:
        return program.finish()


def assert_said(outcome: Outcome, *lines: str) -> None:
    """It said that, and its top level ran once."""
    outcome.assert_clean()
    assert outcome.out == ["top level", *lines]


@pytest.mark.smoke
@everywhere
def test_submits_at_the_top(engine, tmp_path) -> None:
    text = """
    with make(pool_size=2) as pool:
        say(pool.submit(square, 3).result())
        say(pool.submit(asquare, 4).result())
        say(pool.submit(lambda x: square(x) + 1, 5).result())
        say(*pool.map(square, range(4)))
        say(*pool.map(asquare, range(5), chunksize=2))
    """
    assert_said(run(text, tmp_path, engine), "9", "16", "26", "0 1 4 9", "0 1 4 9 16")


@everywhere
def test_a_pool_that_nobody_closes(engine, tmp_path) -> None:
    text = """
    pool = make()
    if True:
        say(pool.submit(square, 3).result())
    """
    assert_said(run(text, tmp_path, engine), "9")


@spawned
def test_asyncio_run_at_the_top(engine, tmp_path) -> None:
    text = """
    async def main():
        async with make(awaitable=True) as pool:
            say(await pool.submit(asquare, 3))
            say(*[x async for x in pool.map(square, range(3))])

    asyncio.run(main())
    """
    assert_said(run(text, tmp_path, engine), "9", "0 1 4")


@spawned
@pytest.mark.parametrize("joined", [True, False], ids=["joined", "left alone"])
def test_a_pool_in_a_thread(engine, joined, tmp_path) -> None:
    """The main thread waits for it at the top, or has come to the end of the module."""
    text = f"""
    at_end = threading.Event()

    def use():
        if not {joined}:
            # Its name is the first thing that the interpreter deletes then.
            threading.main_thread().join()
        with make() as pool:
            say(pool.submit(square, 3).result())

    thread = threading.Thread(target=use)
    thread.start()
    if {joined}:
        thread.join()
    """
    assert_said(run(text, tmp_path, engine), "9")


@spawned
def test_classes_keep_their_identity(engine, tmp_path) -> None:
    text = """
    import dataclasses, enum

    class Colour(enum.Enum):
        RED = 1

    class OwnError(Exception):
        pass

    @dataclasses.dataclass
    class Point:
        x: object

        def doubled(self):
            return Point([self, self])

    class Further(Point):
        pass

    def fail(point):
        raise OwnError(point)

    def make_further():
        return Further(Colour.RED)

    with make(pool_size=2) as pool:
        point = Point(Colour.RED)
        result = pool.submit(point.doubled).result()
        say(type(result) is Point, all(type(each) is Point for each in result.x))
        say(result.x[0].x is Colour.RED, result.x[0] == point)
        for further in pool.map(Further, range(3)):
            assert type(further) is Further and isinstance(further, Point)
        say(isinstance(pool.submit(make_further).result(), Further))
        try:
            pool.submit(fail, point).result()
        except OwnError as error:
            say(type(error.args[0]) is Point)
    """
    assert_said(run(text, tmp_path, engine), "True True", "True True", "True", "True")


@spawned
def test_what_cannot_travel_is_refused_by_name_and_harms_nothing_else(engine, tmp_path) -> None:
    text = """
    from aplex.exceptions import SerializationError

    LOCK = threading.Lock()

    class Counter:
        def count(self):
            with LOCK:
                return 1

    def deeper():
        with LOCK:
            return 1

    def locked():
        return deeper()

    with make() as pool:
        for work in (locked, Counter().count, lambda: LOCK):
            try:
                pool.submit(work).result()
            except SerializationError as error:
                say("'LOCK'" in str(error), "`if __name__ == '__main__':`" in str(error))
        say(pool.submit(square, 3).result())
    """
    assert_said(run(text, tmp_path, engine), *["True True"] * 3, "9")


@spawned
def test_an_initializer_travels_as_works_do(engine, tmp_path) -> None:
    text = """
    from aplex.exceptions import SerializationError

    LOCK = threading.Lock()

    def initialize(value):
        os.environ["INITIALIZED"] = value

    def initialize_locked():
        LOCK.acquire()

    with make(initializer=initialize, initargs=("yes",)) as pool:
        say(pool.submit(os.getenv, "INITIALIZED").result())
    with make(initializer=initialize_locked) as pool:
        try:
            pool.submit(square, 3)
        except SerializationError as error:
            say("'LOCK'" in str(error))
    """
    assert_said(run(text, tmp_path, engine), "yes", "True")


@spawned
def test_a_pool_made_at_the_top_and_used_under_the_guard_imports(engine, tmp_path) -> None:
    text = """
    LOCK = threading.Lock()
    value = None

    def initialize():
        global value
        value = 5

    def get():
        with LOCK:
            return value

    pool = make(initializer=initialize)

    def main():
        with pool:
            say(pool.submit(get).result())

    if __name__ == "__main__":
        main()
    """
    outcome = run(text, tmp_path, engine)
    outcome.assert_clean()
    assert outcome.out.count("top level") >= 2  # here, and in a worker
    assert "5" in outcome.out


@spawned
def test_start_decides_as_well(engine, tmp_path) -> None:
    text = """
    pool = make()
    pool.start()
    say(pool.submit(square, 3).result())
    pool.shutdown()
    """
    assert_said(run(text, tmp_path, engine), "9")


@spawned
def test_a_module_by_its_name(engine, tmp_path) -> None:
    text = (
        f"{PRELUDE}say('top level')\nwith make() as pool:\n    say(pool.submit(square, 3).result())"
    )
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "module.py").write_text(text)
    with command(["-m", "package.module"], engine=engine, cwd=tmp_path) as program:
        assert_said(program.finish(), "9")


@on("spawn", of=START_METHODS)
def test_packages_zip_files_command_lines_and_standard_input(engine, tmp_path) -> None:
    import zipfile

    text = (
        f"{PRELUDE}say('top level')\nwith make() as pool:\n    say(pool.submit(square, 3).result())"
    )
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text(text)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", text)
    for arguments in (["-m", "package"], ["program.zip"], ["-c", text], ["package"]):
        with command(arguments, engine=engine, cwd=tmp_path) as program:
            assert_said(program.finish(), "9")
    with command(["-"], engine=engine, cwd=tmp_path, stdin=text) as program:
        assert_said(program.finish(), "9")


BOOTLOADER = """#!/bin/sh
case "$*" in
    *" -c "*) exec {0} "$@" ;;
    *) exec {0} {1} "$@" ;;
esac
"""
"""As those do, it also runs the resource tracker of multiprocessing, which is no program."""


@on("spawn", of=["spawn"])
@pytest.mark.parametrize("ready", [True, False], ids=["freeze_support", "nothing"])
def test_a_frozen_program(engine, ready, tmp_path) -> None:
    """A worker of one starts the program itself; here, a shell script plays its part."""
    text = f"""
    import multiprocessing.spawn

    sys.frozen = True
    multiprocessing.set_executable({str(tmp_path / "program")!r})
    if {ready}:
        multiprocessing.spawn.freeze_support()  # as the bootloaders make it
    say("after that")
    with make(max_restarts=0) as pool:
        say(pool.submit(square, 3).result())
    """
    (tmp_path / "program").write_text(BOOTLOADER.format(sys.executable, tmp_path / "program.py"))
    (tmp_path / "program").chmod(0o755)
    outcome = run(text, tmp_path, engine)
    if ready:
        outcome.assert_clean()
        assert outcome.out == ["top level", "after that", "top level", "9"]
    else:
        assert outcome.code == 1
        assert outcome.out.count("after that") == 2, "no program starts a third"
        assert "multiprocessing.freeze_support() before anything else" in outcome.err


@spawned
def test_an_imported_module_that_uses_a_pool_while_it_is_imported(engine, tmp_path) -> None:
    """Its functions travel by name. Workers must not start the next workers, and so on."""
    (tmp_path / "module.py").write_text(
        f"{PRELUDE}say('imported')\n"
        "with make() as pool:\n    say(pool.submit(square, 3).exception())"
    )
    outcome = run("import module", tmp_path, engine)
    outcome.assert_clean()
    assert outcome.out.count("imported") == 2
    assert "uses an executor while it is imported" in outcome.out[-1]


@everywhere
def test_a_function_that_was_sent_once_reaches_every_worker_that_comes_later(
    engine, tmp_path
) -> None:
    """Replacements, and the works that run again there, get what they need."""
    text = """
    from aplex.exceptions import WorkerLostError

    def add(x):
        return x + offset

    def die_once(path):
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return offset

    async def adie_once(path):
        return die_once(path)

    offset = 100
    with make(pool_size=2, max_tasks_per_child=5) as pool:
        assert [pool.submit(add, x).result() for x in range(50)] == list(range(100, 150))
        for work in (die_once, adie_once):
            for number in range(4):
                path = f"{__file__}.{work.__name__}{number}"
                assert pool.options(retries=1).submit(work, path).result() == 100
        say("all well")
    """
    text = f"if True:\n{textwrap.indent(textwrap.dedent(text), '    ')}"
    assert_said(run(text, tmp_path, engine), "all well")
