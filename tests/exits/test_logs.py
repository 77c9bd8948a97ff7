"""Exit tests: records of workers when the program ends, and what is left of forwarding."""

from __future__ import annotations

import pytest
from tests.support.programs import ENGINES, on, started

LOGS = """
    import logging

    log = logging.getLogger("works")

    def talk(count):
        for number in range(count):
            log.info("%d", number)

    class Say(logging.Handler):
        def emit(self, record):
            time.sleep(slow)
            said.append(record.getMessage())

    said, slow = [], 0
"""
processes = on("template", "spawn", "forkserver", "fork", of=ENGINES[1:])


@processes
@pytest.mark.parametrize("shut", [True, False])
def test_what_was_logged_is_handled_before_the_program_ends(engine, shut, tmp_path) -> None:
    """Also without a shutdown: the pool ends before the hooks of the program."""
    text = (
        LOGS
        + f"""
    import atexit

    def main():
        atexit.register(lambda: say(len(said), said == list(map(str, range(3000)))))
        logging.basicConfig(level=logging.INFO, handlers=[Say()])
        pool = make()
        pool.submit(talk, 3000).result()
        if {shut}:
            pool.shutdown()
    """
    )
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["3000 True"]


@processes
def test_a_main_module_that_configures_logging_logs_once(engine, tmp_path) -> None:
    text = (
        LOGS
        + """
    logging.basicConfig(level=logging.INFO, handlers=[Say()])
    log.addFilter(lambda record: say("filtered") or True)

    def main():
        with make() as pool:
            pool.submit(talk, 1).result()
        say(said)
    """
    )
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["filtered", "['0']"]


@processes
def test_nothing_is_left_of_pools_that_logged(engine, tmp_path) -> None:
    text = (
        LOGS
        + """
    import gc

    def cycle():
        with make(forward_logs=True) as pool:
            pool.submit(talk, 500).result()

    def census():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def main():
        log.setLevel(logging.INFO)
        log.addHandler(Say())
        cycle()
        before = census()
        for _ in range(10):
            cycle()
        say(len(said), census() == before)
    """
    )
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["5500 True"]


@on("template", "fork", of=ENGINES[1:])
def test_a_program_that_forks_has_no_part_in_it(engine, tmp_path) -> None:
    """The child's levels are its own, and its own pools have records of their own."""
    text = (
        LOGS
        + """
    def main():
        logging.basicConfig(level=logging.INFO, handlers=[Say()])
        pool = make()
        pool.submit(talk, 10).result()
        if not (pid := os.fork()):
            log.setLevel(logging.ERROR)
            log.setLevel(logging.INFO)
            said.clear()
            with make() as own:
                own.submit(talk, 5).result()
            say("child", len(said))
            os._exit(0)
        os.waitpid(pid, 0)
        pool.submit(talk, 10).result()
        pool.shutdown()
        say("parent", len(said))
    """
    )
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["child 5", "parent 20"]


@on("template", "spawn")
def test_a_function_of_the_main_module_has_its_name_in_records(engine, tmp_path) -> None:
    """In workers that have imported it, the main module has another one."""
    text = """
    import logging

    class Shows(logging.Handler):
        def emit(self, record):
            say(record.work_name)

    def log():
        logging.getLogger("works").warning("hello")

    async def alog():
        log()

    def main():
        logging.getLogger().addHandler(Shows())
        with make(pool_size=1) as pool:
            pool.submit(log).result()
            pool.submit(alog).result()
    """
    with started(text, tmp_path, engine=engine) as program:
        outcome = program.finish()
    assert [line.strip() for line in outcome.out] == ["__main__.log", "__main__.alog"]
