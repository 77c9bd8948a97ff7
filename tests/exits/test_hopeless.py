"""Contract tests: a start that cannot heal fails at once, and is told once."""

from __future__ import annotations

from tests.support.programs import TRACEBACK, command, on, script, started

spawned = on("template", "spawn", "forkserver", of=["template", "spawn", "forkserver"])


@spawned
def test_a_main_module_that_cannot_be_imported_in_workers(engine, tmp_path) -> None:
    text = script(
        """
    def main():
        with make(pool_size=4) as pool:
            pool.submit(square, 3).result()
    """
    )
    text = f"if __name__ != '__main__':\n    import no_such_module\n{text}"
    (tmp_path / "program.py").write_text(text)
    with command([str(tmp_path / "program.py")], engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 1
    # That of the worker comes first, then that of the main program: they are one chain.
    assert outcome.err.count(TRACEBACK) == 2, outcome.err
    assert outcome.err.count("\nModuleNotFoundError: ") == 1
    last = outcome.err.splitlines()[-1]
    assert last.startswith("aplex.exceptions.BrokenPoolError: the pool is broken: "), outcome.err
    assert "ModuleNotFoundError: No module named 'no_such_module'" in last


@on("thread", "template", "spawn", "fork")
def test_an_initializer_that_raises(engine, tmp_path) -> None:
    text = """
    def initialize():
        say("try")
        raise LookupError("no such model")

    def main():
        with make(initializer=initialize, max_restarts=50) as pool:
            pool.submit(square, 3).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 1
    assert outcome.out == ["try"] * 2
    assert outcome.err.count("\nLookupError: no such model\n") == 1 + (engine != "thread")
    assert outcome.err.splitlines()[-1].endswith("raised LookupError: no such model")
