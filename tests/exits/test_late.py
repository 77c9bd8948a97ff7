"""Exit tests: pools that are used late, by exit hooks and by threads that outlive the main one."""

from __future__ import annotations

import pytest
from tests.support.programs import on, started

some = on("thread", "template")


@some
def test_submit_after_the_exit_hook_is_refused(engine, tmp_path) -> None:
    """A hook that was registered before the first pool runs after that of the pools."""
    text = """
    import atexit

    def late():
        try:
            pool.submit(square, 1)
        except RuntimeError as error:
            say("refused:", error)

    def main():
        global pool
        atexit.register(late)
        pool = make()
        pool.submit(square, 2).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["refused: cannot submit a work after interpreter exit"]


@on("thread", "template", "fork")
@pytest.mark.parametrize("used", [True, False])
def test_a_pool_that_was_never_used_is_refused_likewise(engine, used, tmp_path) -> None:
    """Its first work would be dropped without a word. Also if no other pool was ever used."""
    text = f"""
    import atexit

    def late():
        made_late = make()
        for pool in (idle, made_late):
            for use in (lambda: pool.submit(square, 1), lambda: pool.map(square, [1])):
                try:
                    use()
                except RuntimeError as error:
                    say("refused:", error)

    def main():
        global pool, idle
        atexit.register(late)
        idle, pool = make(), make()
        if {used}:
            pool.submit(square, 2).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["refused: cannot submit a work after interpreter exit"] * 4


@some
def test_the_first_work_of_a_pool_may_come_in_an_exit_hook(engine, tmp_path) -> None:
    """One that was registered after the pool was made; since Python 3.12 no thread starts then."""
    text = """
    import atexit

    def late():
        try:
            pool.submit(say, "served")
        except RuntimeError as error:
            say("refused:", error)

    def main():
        global pool
        pool = make()
        atexit.register(late)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[0].startswith(("served", "refused: "))


@some
def test_an_exit_hook_may_still_use_the_pool(engine, tmp_path) -> None:
    """A hook that was registered after the first pool runs before that of the pools."""
    text = """
    import atexit

    def main():
        global pool
        pool = make()
        pool.submit(square, 2).result()
        atexit.register(lambda: say(pool.submit(square, 3).result()))
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["9"]


@some
def test_a_first_submit_in_an_exit_hook_is_served_or_refused(engine, tmp_path) -> None:
    """Since Python 3.12 no thread starts at exit: then the pool says so, and nothing hangs."""
    text = """
    import atexit

    def late():
        try:
            with make() as pool:
                say("served", pool.submit(square, 3).result())
        except RuntimeError as error:
            say("refused:", error)

    def main():
        atexit.register(late)
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    # The fork server's folder stays: multiprocessing has tidied up already.
    assert (outcome.err, outcome.code) == ("", 0)
    assert outcome.out[0].startswith(("served 9", "refused: "))


@some
def test_a_pool_used_by_a_daemon_thread_does_not_hold_the_program(engine, tmp_path) -> None:
    text = """
    def use():
        try:
            while True:
                assert pool.submit(square, 2).result() == 4
                served.set()
        except RuntimeError:
            pass

    def main():
        global pool, served
        served = threading.Event()
        pool = make()
        threading.Thread(target=use, daemon=True).start()
        served.wait()
    """
    with started(text, tmp_path, engine=engine) as program:
        program.finish().assert_clean()


@some
def test_a_thread_that_is_no_daemon_finishes_its_use(engine, tmp_path) -> None:
    """The interpreter joins such threads before the exit hooks run."""
    text = """
    def use():
        with make() as pool:
            assert pool.submit(square, 2).result() == 4
            started.set()
            threading.main_thread().join()
            say(sum(pool.map(square, range(10))))

    def main():
        global started
        started = threading.Event()
        threading.Thread(target=use).start()
        started.wait()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["285"]


@some
def test_a_first_submit_after_the_main_thread_is_served_or_refused(engine, tmp_path) -> None:
    """Python 3.12 lets no thread start then; later ones do."""
    text = """
    def use():
        with make() as pool:
            threading.main_thread().join()
            try:
                say("served", sum(pool.map(square, range(10))))
            except RuntimeError as error:
                say("refused:", error)

    def main():
        threading.Thread(target=use).start()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out[0].startswith(("served 285", "refused: "))
