"""What tests run in workers. Workers import this module: append to it, keep it light."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import pickle
import select
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.support.watching import watched

PATIENCE = 10.0
"""Seconds after which a work that waits for its test gives up."""

# -- plain values -------------------------------------------------------------


def add(x: Any, y: Any = 0) -> Any:
    return x + y


async def aadd(x: Any, y: Any = 0) -> Any:
    await asyncio.sleep(0)
    return x + y


def inverse(x: float) -> float:
    return 1 / x


def echo(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


async def aecho(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


def started_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a coroutine function so that it is a plain one that returns a coroutine."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@started_coroutine
async def decorated(x: Any, y: Any = 0) -> Any:
    await asyncio.sleep(0)
    return x + y


class Adder:
    """Something with methods."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def method(self, y: Any) -> Any:
        return self.x + y

    async def amethod(self, y: Any) -> Any:
        await asyncio.sleep(0)
        return self.x + y

    @classmethod
    def of_class(cls, x: Any, y: Any) -> Any:
        return cls(x).method(y)

    @staticmethod
    async def of_nobody(x: Any, y: Any) -> Any:
        return x + y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Adder) and other.x == self.x

    def __hash__(self) -> int:
        return hash(self.x)


class Callee(Adder):
    """A callable object."""

    def __call__(self, y: Any) -> Any:
        return self.x + y


class AsyncCallee(Adder):
    """A callable object whose call is a coroutine."""

    async def __call__(self, y: Any) -> Any:
        await asyncio.sleep(0)
        return self.x + y


class Future:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return "awaited"


async def generator() -> Any:
    yield 1


# -- where it runs ------------------------------------------------------------


def where() -> tuple[int, str, bool, bool]:
    """Return process, thread, whether that is the main one, whether a loop runs on it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop = False
    else:
        loop = True
    thread = threading.current_thread()
    return os.getpid(), thread.name, thread is threading.main_thread(), loop


async def awhere() -> tuple[int, str, bool, bool]:
    return where()


@started_coroutine
async def where_decorated() -> tuple[int, str, bool, bool]:
    return where()


async def loop_class() -> str:
    return type(asyncio.get_running_loop()).__module__


def pid() -> int:
    return os.getpid()


def sleep_and_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


async def apid() -> int:
    return os.getpid()


def span(seconds: float) -> tuple[float, float, int]:
    """Take a while; return when, and in which process and thread."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic(), threading.get_ident() ^ os.getpid()


async def aspan(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    await asyncio.sleep(seconds)
    return began, time.monotonic()


def burn(seconds: float, signals: str | None = None) -> float:
    """Compute in Python for some time."""
    if signals:
        say(signals, "burning")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


async def aburn(seconds: float, signals: str | None = None) -> float:
    """Hold up the loop."""
    return burn(seconds, signals)


def own_loop(x: Any) -> Any:
    return asyncio.run(aadd(x, x))


# -- signals and gates --------------------------------------------------------


def say(signals: str, *words: object) -> None:
    """Send a line to the test; raise if it has ended."""
    fd = os.open(signals, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fd, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(fd)


def pass_gate(gate: str) -> None:
    """Wait until the test opens the gate."""
    fd = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not select.select([fd], [], [], PATIENCE)[0]:
            raise TimeoutError(f"{gate} was not opened")
    finally:
        os.close(fd)


async def apass_gate(gate: str) -> None:
    fd = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    opened = asyncio.Event()
    try:
        with watched(fd, opened.set):
            async with asyncio.timeout(PATIENCE):
                await opened.wait()
    finally:
        os.close(fd)


def held(signals: str, gate: str, value: Any = None) -> Any:
    """Say that it runs, wait at the gate, return."""
    say(signals, "started", value)
    pass_gate(gate)
    say(signals, "passed", value)
    return value


async def aheld(signals: str, gate: str, value: Any = None) -> Any:
    say(signals, "started", value)
    try:
        await apass_gate(gate)
    except asyncio.CancelledError:
        say(signals, "cancelled", value)
        raise
    say(signals, "passed", value)
    return value


@started_coroutine
async def decorated_held(signals: str, gate: str, value: Any = None) -> Any:
    return await aheld(signals, gate, value)


async def endless(signals: str, name: Any = "work", *, cleanup: float = 0.0) -> NoReturn:
    """Run until cancelled, and say what happens."""
    say(signals, "started", name)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(cleanup)
        say(signals, "finally", name)
    raise AssertionError


async def stubborn(signals: str, gate: str) -> str:
    """Refuse to be cancelled."""
    say(signals, "started")
    try:
        await apass_gate(gate)
    except asyncio.CancelledError:
        say(signals, "refused")
        await apass_gate(gate)
    return "finished"


async def converts() -> str:
    """Turn a cancel into an error of its own."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise LookupError("was cancelled") from None
    raise AssertionError


async def cancels_itself() -> None:
    raise asyncio.CancelledError


async def converting(signals: str) -> str:
    say(signals, "started")
    return await converts()


# -- errors -------------------------------------------------------------------


def fail_by_itself(_: Any) -> NoReturn:
    raise Rich("one", 2)  # which no frame has a name for


async def afail_by_itself(_: Any) -> NoReturn:
    await asyncio.sleep(0)
    raise Rich("one", 2)


def fail(error: BaseException) -> NoReturn:
    raise error


async def afail(error: BaseException) -> NoReturn:
    await asyncio.sleep(0)
    raise error


def fail_if(bad: Any, x: Any) -> Any:
    if x == bad:
        raise LookupError(x)
    return x


async def afail_if(bad: Any, x: Any) -> Any:
    await asyncio.sleep(0)
    return fail_if(bad, x)


def fail_richly() -> NoReturn:
    """Raise with arguments, notes, attributes and a cause."""
    try:
        int("x")
    except ValueError as cause:
        error = Rich("one", 2)
        error.add_note("a note")
        error.extra = "kept"
        raise error from cause


async def afail_richly() -> NoReturn:
    fail_richly()


class Rich(Exception):
    """An exception with an attribute."""

    extra = ""


class Mismatch(Exception):
    """Its constructor does not take its ``args``."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"{code} at {where}")
        self.code = code
        self.where = where


def fail_mismatched() -> NoReturn:
    raise Mismatch(3, "home")


class LockedError(Exception):
    """It cannot be pickled at all."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("this exception stays at home")


def fail_locked() -> NoReturn:
    raise LockedError("secret")


class BadLoad:
    """It can be pickled, and not be unpickled in another process than its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return load_badly, (self.pid,)


def load_badly(maker: int) -> BadLoad:
    if maker != os.getpid():
        raise LookupError("not in this process")
    return BadLoad()


class BadLoadError(Exception):
    """An exception that only its own process can unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return load_badly_error, (os.getpid(),)


def load_badly_error(maker: int) -> BadLoadError:
    if maker != os.getpid():
        raise LookupError("not in this process")
    return BadLoadError("at home")


def fail_loading() -> NoReturn:
    raise BadLoadError("at home")


def bad_load() -> BadLoad:
    return BadLoad()


async def abad_load() -> BadLoad:
    return BadLoad()


class Unpicklable:
    """It cannot be pickled, by whatever pickler."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("glued to its place")


def unpicklable(*_: Any) -> Unpicklable:
    return Unpicklable()


async def aunpicklable() -> Unpicklable:
    return Unpicklable()


def unpicklable_at(place: int, number: int) -> Any:
    return Unpicklable() if number == place else number


async def aunpicklable_at(place: int, number: int) -> Any:
    return unpicklable_at(place, number)


# -- deaths -------------------------------------------------------------------


def die(how: str) -> None:
    """End this process at once."""
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "SIGSEGV":
        import faulthandler  # which subinterpreters refuse

        faulthandler.disable()
        faulthandler._sigsegv()  # type: ignore[attr-defined]
    else:
        os._exit(7)


async def adie(how: str) -> None:
    die(how)


# -- setting up workers -------------------------------------------------------

STATE: dict[str, Any] = {}


def remember(key: str, value: Any) -> None:
    STATE[key] = value


def recall(key: str) -> Any:
    return STATE.get(key)


async def arecall(key: str) -> Any:
    return STATE.get(key)


async def aremember(key: str, value: Any) -> None:
    """Remember a value, and whether it was done on the loop that the works run on."""
    STATE["loop"] = asyncio.get_running_loop()
    await asyncio.sleep(0)
    STATE["task"] = asyncio.create_task(asyncio.sleep(0, value))
    STATE[key] = value


async def same_loop(key: str) -> tuple[Any, Any, bool]:
    """Return what was remembered, what a task made then has returned, whether the loop is ours."""
    here = STATE["loop"] is asyncio.get_running_loop()
    return STATE.get(key), await STATE["task"] if here else None, here


def use_shared(lock: Any, event: Any, queue: Any, total: Any, array: Any, gate: Any) -> None:
    """Use what ``multiprocessing`` shares between processes, as an initializer."""
    with gate, lock:
        total.value += 1
        array[total.value] = os.getpid()
    queue.put(os.getpid())
    event.wait(PATIENCE)


def use_mapping(shared: dict[str, Any]) -> None:
    use_shared(**shared)


def pass_barrier(barrier: Any, name: str, connection: Any) -> None:
    STATE[name] = barrier.wait(PATIENCE)
    connection.send(STATE[name])


class Buffer:
    """Something around a buffer that travels outside the pickle (PEP 574), as arrays do."""

    def __init__(self, data: Any) -> None:
        self.data: Any = bytearray(data) if isinstance(data, int) else data

    def __reduce__(self) -> tuple[Any, ...]:
        return Buffer, (pickle.PickleBuffer(self.data),)


def increment(key: str) -> tuple[int, int]:
    """Add one to the first byte of a buffer; return it, and how long the buffer is."""
    data = memoryview(STATE[key].data)
    data[0] += 1
    return data[0], len(data)


def log_to(queue: Any) -> None:
    """Send log records to the parent, as the logging cookbook does."""
    import logging.handlers

    logger = logging.getLogger("works")
    logger.handlers[:] = [logging.handlers.QueueHandler(queue)]
    logger.propagate = False


def log(text: str) -> None:
    import logging

    logging.getLogger("works").warning(text)


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def take(*_arguments: Any) -> None:
    """Let go of all arguments."""


class ARememberer:
    """A callable object whose call is a coroutine function."""

    async def __call__(self, key: str, value: Any) -> None:
        await aremember(key, value)


def broken_loop() -> NoReturn:
    raise LookupError("no loop today")


def broken_start(reason: str) -> NoReturn:
    raise LookupError(reason)


async def abroken_start(reason: str) -> NoReturn:
    await asyncio.sleep(0)
    raise LookupError(reason)


async def aexiting_start() -> NoReturn:
    await asyncio.sleep(0)
    raise SystemExit("out")


def generator_start() -> Iterator[None]:
    yield


def deadly_start() -> NoReturn:
    os._exit(5)


# -- what stays alive ---------------------------------------------------------


class Tracked:
    """An object whose instances of this process can be counted."""

    living: weakref.WeakSet[Tracked] = weakref.WeakSet()

    def __init__(self) -> None:
        Tracked.living.add(self)

    def __setstate__(self, state: Any) -> None:
        Tracked.living.add(self)

    def __getstate__(self) -> tuple[int]:
        return (1,)


def living(*_: Any) -> int:
    """Count the tracked objects of this process (without the arguments of this call)."""
    return len(Tracked.living)


def tracked(*_: Any) -> Tracked:
    return Tracked()


async def atracked(*_: Any) -> Tracked:
    return Tracked()


def nothing(*_: Any) -> None:
    pass


async def anothing(*_: Any) -> None:
    pass


async def leave_task(signals: str) -> None:
    """Leave a task, and an asynchronous generator, behind on the worker's loop."""

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            say(signals, "task cancelled")

    async def leftover() -> Any:
        try:
            yield 1
            yield 2
        finally:
            say(signals, "generator closed")

    STATE["task"] = asyncio.create_task(left())
    STATE["generator"] = leftover()
    await anext(STATE["generator"])
    await asyncio.sleep(0)


def held_then_coroutine(signals: str, gate: str) -> Any:
    """A plain function that takes a while, and then returns a coroutine."""
    held(signals, gate)
    return endless(signals, "late")


def nap(seconds: float) -> Any:
    """A plain function that returns a coroutine."""
    return asyncio.sleep(seconds, "slept")


async def clean_up_until(signals: str, gate: str) -> NoReturn:
    """Be cancelled, and take as long for the cleanup as the test wants."""
    say(signals, "started")
    try:
        await asyncio.Event().wait()
    finally:
        say(signals, "cleaning")
        await apass_gate(gate)
        say(signals, "clean")
    raise AssertionError


def _first_run(path: str) -> bool:
    """Leave a line in a file; return whether it is the first."""
    with open(path, "a+") as file:
        file.write(f"{os.getpid()}\n")
        file.seek(0)
        return len(file.readlines()) == 1


class NotYet(Exception):
    """It fails at the first run."""


def fail_at_first(path: str) -> str:
    if _first_run(path):
        raise NotYet
    return path


def die_at_first(path: str) -> int:
    """Die at the first run; at the second return the process id."""
    if _first_run(path):
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die_at_first_with(path: str, data: bytes) -> bytes:
    """Die at the first run; at the second return the end of the data."""
    die_at_first(path)
    return data[-5:]


async def adie_at_first(path: str) -> int:
    """Die at the first run; at the second return the process id."""
    await asyncio.sleep(0)
    return die_at_first(path)


class Array:
    """What carries its data out of band, as arrays of libraries do."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data),)


def die_at_first_changing(path: str, array: Array) -> int:
    """Change the argument in place; die at the first run, at the second return what it is."""
    array.data[0] += 1
    die_at_first(path)
    return int(array.data[0])


async def adie_at_first_changing(path: str, array: Array) -> int:
    """Change the argument in place; die at the first run, at the second return what it is."""
    return die_at_first_changing(path, array)


def die_at_first_yielding(path: str, array: Array) -> Iterator[int]:
    """Change the argument in place; die at the first run, at the second yield what it is."""
    yield die_at_first_changing(path, array)


def crash() -> None:
    """Crash in C."""
    import faulthandler

    faulthandler._sigsegv()  # type: ignore[attr-defined]


def crash_in_a_fork() -> None:
    """Let a forked child crash."""
    pid = os.fork()
    if not pid:
        crash()
        os._exit(0)
    os.waitpid(pid, 0)


def dump_crashes_to(path: str) -> None:
    """Use ``faulthandler`` for oneself."""
    import faulthandler

    global _dump  # noqa: PLW0603 - the file must stay open
    _dump = open(path, "w")  # noqa: SIM115
    faulthandler.enable(_dump)


def fill_memory_and_die(count: int) -> None:
    """Use so many bytes of memory, then die."""
    data = b"x" * count
    os.kill(os.getpid(), signal.SIGKILL)
    del data


def shared_memory() -> int:
    """Return the bytes that the shared memory of this worker holds, for calls and for results."""
    folder = Path("/proc/self/fd")
    ends = [int(end.name) for end in folder.iterdir() if "memfd:aplex" in _target(end)]
    files = {stat.st_ino: stat for stat in map(os.fstat, ends)}  # each mapping has a descriptor
    return sum(file.st_blocks * 512 for file in files.values())


def shrink_shared_memory() -> int:
    """Try to shorten the shared memory that this worker has; return how often it could."""
    done = 0
    for end in Path("/proc/self/fd").iterdir():
        if "memfd:aplex" in _target(end):
            with contextlib.suppress(OSError):
                os.ftruncate(int(end.name), 0)
                done += 1
    return done


def array_of(value: int, count: int) -> Array:
    """Return so many bytes that travel in shared memory."""
    return Array(bytearray([value]) * count)


def _target(end: Path) -> str:
    try:
        return str(end.readlink())
    except OSError:  # the descriptor by which the folder is read
        return ""


def same(value: Any) -> Any:
    return value


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def ident() -> Any:
    """Tell workers apart, threads and processes."""
    return os.getpid(), threading.get_ident()


def stop() -> None:
    """Stop this process; someone else has to continue it."""
    os.kill(os.getpid(), signal.SIGSTOP)


def fail_to_start(path: str, times: int) -> None:
    """Fail so many times, over all processes, by what may pass."""
    with open(f"{path}.starts", "a+") as file:
        file.write("x")
        file.seek(0)
        if len(file.read()) <= times:
            raise ConnectionRefusedError("not yet")


def slow_same(value: Any) -> Any:
    time.sleep(0.02)
    return value


def zeros(count: int) -> bytes:
    return bytes(count)


async def azeros(count: int) -> bytes:
    return bytes(count)


def flood_stderr(count: int) -> None:
    """Write so many bytes to the standard error output."""
    for _ in range(count // 2**16):
        os.write(2, b"x" * 2**16)


def close_all() -> None:
    """Close all descriptors, as code does that wants to become a daemon."""
    os.closerange(3, 1024)


async def aclose_all() -> None:
    close_all()


async def aclose_all_and_stderr() -> None:
    """Close them where even the standard error cannot be written to any more."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    await aclose_late()


async def aclose_late() -> None:
    """Close them in a turn of the loop that is nobody's."""
    asyncio.get_running_loop().call_soon(close_all)
    await asyncio.Event().wait()


# -- streams ------------------------------------------------------------------

yielded: dict[str, int] = {}
"""How far streams of this worker are, by name."""


def count_to(end: int, name: str = "") -> Iterator[int]:
    for number in range(end):
        yielded[name] = number + 1
        yield number


async def acount_to(end: int, name: str = "") -> AsyncIterator[int]:
    for number in range(end):
        yielded[name] = number + 1
        yield number


async def how_far(name: str) -> int:
    return yielded.get(name, 0)


def yield_then_fail(good: int, error: BaseException) -> Iterator[int]:
    yield from range(good)
    raise error


async def ayield_then_fail(good: int, error: BaseException) -> AsyncIterator[int]:
    for number in range(good):
        yield number
    raise error


def yield_then_die(good: int) -> Iterator[int]:
    yield from range(good)
    os.kill(os.getpid(), signal.SIGKILL)


async def ayield_then_die(good: int) -> AsyncIterator[int]:
    for number in range(good):
        yield number
    os.kill(os.getpid(), signal.SIGKILL)


def count_and_say(signals: str) -> Iterator[int]:
    try:
        yield from itertools.count()
    finally:
        say(signals, "finally")


async def acount_and_say(signals: str) -> AsyncIterator[int]:
    try:
        for number in itertools.count():
            yield number
    finally:
        say(signals, "finally")


async def await_and_say(signals: str) -> AsyncIterator[int]:
    """Yield once, then wait for something that never comes."""
    try:
        yield 0
        await asyncio.Event().wait()
    finally:
        say(signals, "finally")


def yield_these(*items: Any) -> Iterator[Any]:
    yield from items


async def ayield_these(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


def yield_big(count: int, size: int) -> Iterator[bytes]:
    for number in range(count):
        yield bytes([number]) * size


async def ayield_big(count: int, size: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * size


def echo_stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
    yield args
    yield kwargs


async def aecho_stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
    yield args
    yield kwargs


@started_coroutine
async def decorated_stream(end: int) -> AsyncIterator[int]:
    for number in range(end):
        yield number


def yield_badly() -> Iterator[Any]:
    yield 1
    yield BadLoad()


async def ayield_badly() -> AsyncIterator[Any]:
    yield 1
    yield BadLoad()


def yield_then_wait(gate: str) -> Iterator[str]:
    yield "first"
    pass_gate(gate)
    yield "second"


async def ayield_then_wait(gate: str) -> AsyncIterator[str]:
    yield "first"
    await apass_gate(gate)
    yield "second"


def yield_then_run(work: Callable[..., object], *args: Any) -> Iterator[str]:
    yield "first"
    work(*args)
    yield "second"


def yield_in_loop(signals: str, gate: str) -> AsyncIterator[int]:
    """Be a plain function that returns an asynchronous generator."""
    return acount_and_say(signals)


# -- nesting ------------------------------------------------------------------

POOLS: dict[str, Any] = {}
"""Executors, as a program's globals; forked workers inherit it."""


def submits_to_global(name: str) -> Any:
    return POOLS[name].submit(add, 1, 1).result()


def hashes(signals: str) -> None:
    """Run code of C for minutes, without the interpreter lock."""
    import hashlib

    say(signals, "running")
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)


def keeps_the_interpreter(signals: str) -> None:
    """Run code of C for ever, with the interpreter lock."""
    say(signals, "running")
    deque(itertools.repeat(None), maxlen=0)


async def stop_loop() -> None:
    """Break the loop of the worker, and wait there."""
    loop = asyncio.get_running_loop()
    loop.stop()
    await loop.create_future()


def loaded_modules() -> set[str]:
    return set(sys.modules)


# -- works that are dumped ----------------------------------------------------


async def nested(signals: str, gate: str) -> None:
    async for _ in steps(signals, gate):
        pass


async def steps(signals: str, gate: str) -> AsyncIterator[None]:
    say(signals, "nested")
    await asyncio.create_task(nested_leaf(gate))
    yield


async def nested_leaf(gate: str) -> None:
    await apass_gate(gate)


async def in_group(signals: str, gate: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(apass_gate(gate), name="left")
        group.create_task(apass_gate(gate), name="right")
        say(signals, "group")


async def in_gather(signals: str, gate: str) -> None:
    say(signals, "gather")
    await asyncio.gather(apass_gate(gate), apass_gate(gate))


async def blocks_loop(signals: str, gate: str) -> None:
    say(signals, "blocks")
    pass_gate(gate)


def measured_sleep(seconds: float) -> None:
    time.sleep(seconds)


async def measured_asleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


# -- what subinterpreters refuse ------------------------------------------------


def refused_in_c() -> None:
    import_module("_curses")


def raised_beside_a_refusal() -> None:
    try:
        import_module("_curses")
    except ImportError:
        raise LookupError("no screen") from None


def raised_from_a_refusal() -> None:
    try:
        import_module("_curses")
    except ImportError as error:
        raise LookupError("no screen") from error


def falls_back() -> str:
    try:
        import_module("_curses")
    except ImportError as error:
        return str(error)
    return "it is there"


def compute_until(seconds: float) -> int:
    """Compute, in Python code alone."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
    return count
