"""Kill points of the template's protocol: it dies at each step, and no work is lost."""

from __future__ import annotations

import pytest
from tests.support.programs import started

STEPS = [
    (where, when)
    for where in ("Template._answer", "os.fork", "Template._watch", "Template._reap", "_tell")
    for when in ("before", "after")
]


@pytest.mark.parametrize(("where", "when"), STEPS)
def test_a_template_that_dies_loses_no_work(where: str, when: str, tmp_path) -> None:
    """It kills itself once, at its second time there; then another template takes its place.

    The worker that it has just forked has begun nothing, or is known to the parent.
    """
    text = f"""
    import pathlib

    from aplex._worker import template as module

    MARK = pathlib.Path(__file__).with_suffix(".struck")
    RAN = pathlib.Path(__file__).with_suffix(".ran")
    owner, _, name = {where!r}.rpartition(".")
    owner = {{"": module, "Template": module.Template, "os": os}}[owner]
    real = getattr(owner, name)
    calls = 0

    def strike(when):
        if when == {when!r} and calls == 2 and not MARK.exists():
            MARK.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def hooked(*args):
        global calls
        calls += 1
        strike("before")
        result = real(*args)
        if name != "fork" or result:  # not in the child
            strike("after")
        return result

    if __name__ == "__mp_main__":
        setattr(owner, name, hooked)

    def numbered(number):
        with RAN.open("a") as file:
            file.write(f"{{number}}\\n")
        return number

    async def anumbered(number):
        return numbered(number)

    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def main():
        with make(pool_size=2) as pool:
            futures = [pool.submit(numbered, number) for number in range(20)]
            futures += [pool.submit(anumbered, number) for number in range(20, 40)]
            assert [future.result(20) for future in futures] == list(range(40))
            for _ in range(3):  # until it has struck
                assert pool.submit(killed).exception(20) is not None
                pool.start()
            assert pool.submit(asquare, 5).result(20) == 25
        ran = sorted(map(int, RAN.read_text().split()))
        say(MARK.exists(), ran == list(range(40)))
    """
    with started(text, tmp_path, engine="template") as program:
        outcome = program.finish()
    outcome.assert_clean()
    assert outcome.out == ["True True"]
