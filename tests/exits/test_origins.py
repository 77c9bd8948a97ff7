"""Contract tests: where programs, and the functions they submit, come from."""

from __future__ import annotations

import textwrap

import pytest
from tests.support.programs import START_METHODS, command, on, script, started

every = on("thread", "template", "forkserver", "fork")
engines = on("thread", "template", "fork")
processes = on("template", "spawn", "fork", of=START_METHODS)

# Works of every kind, defined in the main module; arguments and results of its classes too.
WORKS = """
    import dataclasses, enum, functools

    class Colour(enum.Enum):
        RED = 1

    class OwnError(Exception):
        pass

    @dataclasses.dataclass
    class Point:
        x: int

        def doubled(self):
            return Point(2 * self.x)

        async def adoubled(self):
            return Point(2 * self.x)

    def fail():
        raise OwnError("own")

    def initialize(value):
        os.environ["INITIALIZED"] = value

    def get_initialized():
        return os.environ["INITIALIZED"]

    def try_all(pool):
        outer = 10
        assert pool.submit(square, 3).result() == 9
        assert pool.submit(asquare, 3).result() == 9
        assert pool.submit(lambda x: x + outer, 1).result() == 11
        assert pool.submit(functools.partial(square, 4)).result() == 16
        assert pool.submit(Point(2).doubled).result() == Point(4)
        assert pool.submit(Point(2).adoubled).result() == Point(4)
        assert pool.submit(Point, 5).result() == Point(5)
        red = Point(Colour.RED)
        assert pool.submit(dataclasses.replace, Point(1), x=Colour.RED).result() == red
        assert list(pool.map(asquare, range(5), chunksize=2)) == [0, 1, 4, 9, 16]
        assert pool.submit(get_initialized).result() == "yes"
        try:
            pool.submit(fail).result()
        except OwnError as error:
            assert error.args == ("own",)
        else:
            raise AssertionError("no error")

    def main():
        with make(initializer=initialize, initargs=("yes",)) as pool:
            try_all(pool)
        say("all well")
"""


@pytest.mark.smoke
@every
def test_a_script_file(engine, tmp_path) -> None:
    (tmp_path / "program.py").write_text(script(WORKS))
    with command([str(tmp_path / "program.py")], engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["all well"]


@processes
def test_a_script_named_by_a_relative_path(engine, tmp_path) -> None:
    text = WORKS.replace("def main():\n", "def main():\n        os.chdir('/')\n")
    (tmp_path / "program.py").write_text(script(text))
    with command(["program.py"], engine=engine, cwd=tmp_path) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["all well"]


@engines
@pytest.mark.parametrize("ending", ["\nmain()\n", None], ids=["no guard", "guard"])
def test_a_program_on_the_command_line(engine, ending, tmp_path) -> None:
    """``python -c`` needs no guard: the workers do not run it."""
    text = script(WORKS, ending) if ending else script(WORKS)
    with command(["-c", text], engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["all well"]


@engines
@pytest.mark.parametrize("ending", ["\nmain()\n", None], ids=["no guard", "guard"])
def test_a_script_on_standard_input(engine, ending, tmp_path) -> None:
    text = script(WORKS, ending) if ending else script(WORKS)
    with command(["-"], engine=engine, stdin=text, cwd=tmp_path) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["all well"]


@processes
def test_a_module(engine, tmp_path) -> None:
    (tmp_path / "module.py").write_text(script(WORKS))
    with command(["-m", "module"], engine=engine, cwd=tmp_path) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["all well"]


@on("template", "spawn", "forkserver", of=START_METHODS)
def test_a_package(engine, tmp_path) -> None:
    """Relative imports work in the workers, too."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "works.py").write_text("def cube(x):\n    return x**3\n")
    text = "from .works import cube\n" + script(
        WORKS.replace('say("all well")', 'say("all well")\n        assert cube(2) == 8')
        .replace("try_all(pool)\n        say", "try_all(pool)\n            "
                 "assert pool.submit(cube, 3).result() == 27\n        say")
    )  # fmt: skip
    (package / "__main__.py").write_text(text)
    with command(["-m", "package"], engine=engine, cwd=tmp_path) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["all well"]


@on("template", "spawn", of=START_METHODS)
def test_a_folder_and_a_zip_file(engine, tmp_path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", script(WORKS))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(script(WORKS))
    for name in ("program.zip", "folder"):
        with command([str(tmp_path / name)], engine=engine) as program:
            outcome = program.finish()
        outcome.assert_clean()
        assert outcome.out == ["all well"]


@pytest.mark.parametrize("engine", ["spawn", "forkserver"])
def test_a_function_under_the_guard_is_told_to_leave_it(engine, tmp_path) -> None:
    ending = textwrap.dedent("""
    if __name__ == "__main__":
        def hidden(x):
            return x

        from aplex.exceptions import SerializationError

        with make() as pool:
            try:
                pool.submit(hidden, 3).result()
            except SerializationError as error:
                say(error)
            assert pool.submit(square, 3).result() == 9
    """)
    (tmp_path / "program.py").write_text(script("", ending))
    with command([str(tmp_path / "program.py")], engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert len(outcome.out) == 1
    assert "hidden" in outcome.out[0]
    assert "`if __name__ == '__main__'`" in outcome.out[0]


@engines
def test_an_interactive_session(engine, tmp_path) -> None:
    """``python -i`` that reads its lines from a pipe: the prompts go to stderr."""
    lines = script(WORKS, "")
    session = f"exec({lines!r})\nmain()\nexit()\n"
    with command(["-i", "-q"], engine=engine, stdin=session, cwd=tmp_path) as program:
        outcome = program.finish()
    assert outcome.err.replace(">>> ", "").strip() == ""
    assert outcome.code == 0
    assert outcome.out == ["all well"]


@engines
def test_an_interactive_console(engine, tmp_path) -> None:
    """``code.InteractiveConsole``, as of IDLE and of debuggers: functions of ``__console__``."""
    lines = [
        f"exec({script(WORKS, '')!r})",
        "main()",
        "pool = make(pool_size=2)",
        "pool.submit(lambda: say('left open')).result()",
    ]
    text = f"""
def main():
    import code

    console = code.InteractiveConsole()
    for line in {lines!r}:
        assert not console.push(line)

if __name__ == "__main__":
    main()
"""
    (tmp_path / "program.py").write_text(text)
    with command([str(tmp_path / "program.py")], engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["all well", "left open"]


KERNEL = """
import sys, types

shell = types.ModuleType("__main__")
sys.modules["__main__"] = shell

def run_cell(number, text):
    code = compile(text, f"<ipython-input-{number}>", "exec")
    exec(code, shell.__dict__)

def start():
"""


@every
def test_a_notebook(engine, tmp_path) -> None:
    """A ``__main__`` without a file; a cell that is run again replaces its functions."""
    cells = [
        script(WORKS, ""),
        "main()",
        "pool = make()\ndef f(): return 'first'",
        "say(pool.submit(f).result())",
        "def f(): return 'second'",
        "say(pool.submit(f).result())",
        "factor = 2\nasync def g(x): return factor * x",
        "say(*pool.map(g, range(3)))",
        "factor = 3",
        "say(*pool.map(g, range(3)))",
        # What is numbered, and sent once, is seen as it is at the next submit all the same.
        "def h(): return f() + str(factor)",
        "say(*[pool.submit(h).result() for _ in range(4)])",
        "def f(): return 'third'",
        "say(*[pool.submit(h).result() for _ in range(3)])",
        "factor = 4",
        "say(*[pool.submit(h).result() for _ in range(3)])",
        "pool.shutdown()",
    ]
    text = KERNEL + "".join(f"    run_cell({n}, {cell!r})\n" for n, cell in enumerate(cells))
    (tmp_path / "kernel.py").write_text(text)
    starter = "import kernel; kernel.start()"
    with command(["-c", starter], engine=engine, cwd=tmp_path) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[:5] == ["all well", "first", "second", "0 2 4", "0 3 6"]
    assert outcome.out[5:] == ["second3 " * 3 + "second3", *_thrice("third3", "third4")]


def _thrice(*words: str) -> list[str]:
    return [" ".join([word] * 3) for word in words]


@on("template", "spawn", "forkserver", of=["spawn", "forkserver"])
def test_a_deleted_working_directory_is_named_with_its_cure(engine, tmp_path) -> None:
    text = """
    import tempfile

    def main():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
        try:
            with make(max_restarts=0) as pool:
                pool.submit(square, 3).result()
        except Exception as error:
            say(error)
        os.chdir("/")
        with make() as pool:
            say(pool.submit(square, 3).result())
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert "the working directory of this program was deleted" in outcome.out[0]
    assert "os.chdir(" in outcome.out[0]
    assert outcome.out[1] == "9"
