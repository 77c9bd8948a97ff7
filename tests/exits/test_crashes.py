"""Exit tests: where the environment has ``faulthandler`` write to stderr, crashes are told twice.

In the death certificate, and on stderr. All programs run with ``PYTHONFAULTHANDLER=1``.
"""

from __future__ import annotations

from tests.support.programs import on, started

FATAL = "Fatal Python error: Segmentation fault"


@on("template", "spawn", "forkserver", "fork")
def test_a_crash_is_told_in_the_certificate_and_on_stderr(engine, tmp_path) -> None:
    text = """
    import faulthandler

    def crash():
        faulthandler._sigsegv()

    def main():
        with make() as pool:
            error = pool.submit(crash).exception()
            say(type(error).__name__, error.stack.splitlines()[0])
            say(error.stack.splitlines()[2].startswith("Current thread"), "in crash" in error.stack)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.out == [f"WorkerLostError {FATAL}", "True True"]
    assert outcome.err.count(FATAL) == 1
    assert "in crash" in outcome.err
    assert "Thread 0x" in outcome.err  # all of them, as the environment wants it


@on("template", "spawn", "fork")
def test_the_last_words_of_a_broken_pool_are_a_crash_on_stderr_too(engine, tmp_path) -> None:
    text = """
    import faulthandler

    def crash():
        faulthandler._sigsegv()

    def main():
        with make(initializer=crash, max_restarts=0) as pool:
            error = pool.submit(square, 1).exception()
            say(type(error).__name__, "last words" in str(error))
            say("in crash" in error.__cause__.__notes__[0])
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.out == ["BrokenPoolError True", "True"]
    assert FATAL in outcome.err


@on("template", "spawn")
def test_a_crash_while_the_main_module_is_imported_leaves_its_last_words(engine, tmp_path) -> None:
    text = """
    import faulthandler

    if __name__ != "__main__":
        faulthandler._sigsegv()

    def main():
        with make(max_restarts=0) as pool:
            error = pool.submit(square, 1).exception()
            say(type(error).__name__, "last words" in str(error))
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.out == ["BrokenPoolError True"]
    assert FATAL in outcome.err


@on("spawn")
def test_the_name_of_a_process_sets_the_hook_before_the_main_module_is_imported(
    engine, tmp_path
) -> None:
    """See decision 30."""
    text = """
    if __name__ != "__main__":
        raise LookupError("so the main module ends")

    def main():
        with make(max_restarts=0) as pool:
            error = pool.submit(square, 1).exception()
            say(type(error).__name__, "LookupError: so the main module ends" in str(error))
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.code == 0
    assert outcome.out == ["BrokenPoolError True"]
    assert outcome.err == ""  # the error has it


@on("template", "spawn")
def test_a_faulthandler_of_the_main_module_stays_as_it_is(engine, tmp_path) -> None:
    text = """
    import faulthandler

    dump = open(f"{__file__}.dump", "a")
    faulthandler.enable(dump)

    def crash():
        faulthandler._sigsegv()

    def main():
        with make() as pool:
            say(pool.submit(crash).exception().stack)
        say("in crash" in open(dump.name).read())
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert outcome.out == ["None", "True"]
    assert FATAL not in outcome.err
