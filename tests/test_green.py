"""Programs whose threads gevent or eventlet has replaced: they work, or are told why not."""

from __future__ import annotations

import types

import pytest

from aplex import ProcessAsyncPoolExecutor, ThreadAsyncPoolExecutor
from aplex._worker import green_threads
from tests.support.programs import started

PATCHERS = [
    ("gevent", "gevent.monkey", "is_module_patched", "threading"),
    ("eventlet", "eventlet.patcher", "is_monkey_patched", "thread"),
]


@pytest.fixture(params=PATCHERS, ids=lambda row: row[0])
def patch(request, monkeypatch):
    """Has the process look as if these modules were patched."""
    name, patcher, asks, threads = request.param

    def patch(*modules: str) -> str:
        patched = {threads if module == "threads" else module for module in modules}
        module = types.SimpleNamespace(**{asks: patched.__contains__})
        monkeypatch.setitem(green_threads.sys.modules, patcher, module)
        return name

    return patch


def test_what_is_only_imported_does_not_matter(patch) -> None:
    patch("socket")
    with ThreadAsyncPoolExecutor(pool_size=1) as pool:
        assert pool.submit(abs, -1).result() == 1


@pytest.mark.parametrize("kind", [ThreadAsyncPoolExecutor, ProcessAsyncPoolExecutor])
@pytest.mark.parametrize("modules", [("threads", "select"), ("select",)])
def test_what_is_patched_late_or_in_part_is_refused(patch, kind, modules) -> None:
    name = patch(*modules)
    with kind(pool_size=1) as pool, pytest.raises(RuntimeError, match=f"{name} has patched this"):
        pool.submit(abs, -1)


def test_what_was_patched_first_is_no_reason_to_refuse(patch, monkeypatch) -> None:
    patch("threads", "select")
    monkeypatch.setattr(green_threads, "AT_IMPORT", green_threads.patched_by())
    with ThreadAsyncPoolExecutor(pool_size=1) as pool:
        assert pool.submit(abs, -1).result() == 1
    with ProcessAsyncPoolExecutor(pool_size=1, mp_context="fork") as pool:
        with pytest.raises(RuntimeError, match="mp_context='spawn'"):
            pool.submit(abs, -1)


def test_a_worker_that_is_patched_says_why_it_cannot_serve(tmp_path) -> None:
    """It imports a main module that patches without looking who imports it."""
    text = """
    import types
    from aplex import BrokenPoolError

    if __name__ != "__main__":
        patched = types.SimpleNamespace(is_module_patched={"threading", "select"}.__contains__)
        sys.modules["gevent.monkey"] = patched

    def main():
        with make(max_restarts=0) as pool:
            try:
                pool.submit(asquare, 2).result()
            except BrokenPoolError as error:
                say(error)
    """
    with started(text, tmp_path, engine="spawn") as program:
        outcome = program.finish()
    outcome.assert_clean()
    (said,) = outcome.out
    assert "gevent has patched this worker process" in said
    assert "under `if __name__ == '__main__':`" in said
    assert "initializer" not in said
