"""Logic: frames over pipes. Both ends are here; no other thread, no process."""

from __future__ import annotations

import gc
import os
import pickle
import socket
import tracemalloc
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aplex._wire.frames import PipeEnd, Reader, SocketEnd, Writer, one_way
from tests.support.spawning import travelled

KEPT = 256 * 1024  # bytes of the reader's kept buffer


def taken(reader: Reader) -> list[Any]:
    """Read once, and take in what is complete."""
    frames = list(reader.read())
    reader.frames.clear()
    return frames


class Pipe:
    """A reader and a writer, joined; the writer's end does not block."""

    def __init__(self, reading: Any, writing: Any) -> None:
        self.reading, self.writing = reading, writing
        reading.set_blocking(False)
        writing.set_blocking(False)
        self.reader, self.writer = Reader(reading), Writer(writing)

    def carry(self, *bodies: Any) -> list[Any]:
        """Write frames, and read until they are all there."""
        for body in bodies:
            self.writer.write(body)
        received: list[Any] = []
        while len(received) < len(bodies):
            self.writer.flush()
            received += taken(self.reader)
        return received

    def close(self) -> None:
        self.reading.close()
        self.writing.close()


def pipe_ends() -> tuple[Any, Any]:
    reading, writing = os.pipe()
    return PipeEnd(reading), PipeEnd(writing)


def socket_ends() -> tuple[Any, Any]:
    reading, writing = socket.socketpair()
    return SocketEnd(reading), SocketEnd(writing)


@pytest.fixture(params=[pipe_ends, socket_ends], ids=["pipe", "socket"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    made = Pipe(*request.param())
    yield made
    made.close()


class ScriptedEnd:
    """Gives out the bytes it was fed, in pieces as told; keeps what is written."""

    def __init__(self, pieces: Sequence[bytes] = (), takes: Sequence[int] = ()) -> None:
        self.pieces = list(pieces)
        self.takes = list(takes)  # bytes that each write takes; 0: the pipe is full
        self.written = b""

    def reader(self) -> Any:
        return lambda views: self.read_into(views[0])

    def writer(self) -> Any:
        return self.write

    def read_into(self, view: memoryview) -> int:
        if not self.pieces:
            return 0
        piece = self.pieces.pop(0)
        count = min(len(piece), len(view))
        view[:count] = piece[:count]
        if count < len(piece):
            self.pieces.insert(0, piece[count:])
        return count

    def write(self, parts: Sequence[Any]) -> int:
        data = b"".join(map(bytes, parts))
        take = self.takes.pop(0) if self.takes else len(data)
        if take == 0:
            raise BlockingIOError
        self.written += data[:take]
        return min(take, len(data))


def written(*bodies: Any) -> bytes:
    end = ScriptedEnd()
    writer = Writer(end)  # type: ignore[arg-type]
    for body in bodies:
        assert writer.write(body)
    return end.written


def read_all(pieces: Sequence[bytes]) -> list[Any]:
    """Read until the end of file; return the bodies."""
    reader = Reader(ScriptedEnd([piece for piece in pieces if piece]))  # type: ignore[arg-type]
    bodies: list[Any] = []
    while True:
        try:
            bodies += taken(reader)
        except EOFError:
            return bodies


def apart(*parts: bytes | bytearray) -> list[Any]:
    """A body that ``marshal`` refuses: such a frame is pickled, and its buffers travel apart.

    (Else it takes buffers for bytes, and a body of up to 2 GiB.)
    """
    return [range(1), *map(pickle.PickleBuffer, parts)]


def plain(bodies: Sequence[Any]) -> list[Any]:
    """The bodies with their buffers as bytes, to compare them."""

    def flat(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [flat(item) for item in value]
        is_buffer = isinstance(value, pickle.PickleBuffer | memoryview | bytearray)
        return bytes(value) if is_buffer else value

    return [flat(body) for body in bodies]


SMALL = [None, (1, "two", b"three"), apart(b"four", b""), [pickle.PickleBuffer(b"five"), 6]]


# -- what goes in comes out -----------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("body", [None, [], [(1, 0, "x")], (0.5, [(1, 2, b"data")]), "x" * 10**6])
def test_a_body_crosses(pipe: Pipe, body: Any) -> None:
    assert pipe.carry(body) == [body]


def test_many_frames_come_in_one_read(pipe: Pipe) -> None:
    for number in range(50):
        assert pipe.writer.write(number)
    assert taken(pipe.reader) == list(range(50))


def test_buffers_cross_out_of_band(pipe: Pipe) -> None:
    data = [os.urandom(size) for size in (0, 1, 100, 40_000)]
    (body,) = pipe.carry(apart(*data))
    assert body[0] == range(1)
    assert [bytes(part) for part in body[1:]] == data


def test_a_buffer_can_be_unpickled_as_it_is(pipe: Pipe) -> None:
    """That is what is done with payloads: no copy before."""
    payload = pickle.dumps({"answer": list(range(100_000))}, 5)
    for sent in apart(payload), [pickle.PickleBuffer(payload)]:
        (body,) = pipe.carry(sent)
        assert pickle.loads(body[-1]) == {"answer": list(range(100_000))}


@pytest.mark.parametrize("size", [KEPT - 100, KEPT, KEPT + 1, 3_000_000])
@pytest.mark.parametrize("out_of_band", [False, True])
def test_a_big_frame_crosses_between_small_ones(pipe: Pipe, size: int, out_of_band: bool) -> None:
    data = os.urandom(size)
    big = apart(data) if out_of_band else data
    frames = plain(pipe.carry("before", big, "between", big, "after"))
    assert frames[::2] == ["before", "between", "after"]
    assert frames[1::2] == [[range(1), data] if out_of_band else data] * 2


def test_a_frame_may_have_more_buffers_than_one_system_call_takes(pipe: Pipe) -> None:
    data = [b"%d" % number for number in range(3000)]
    (body,) = pipe.carry(apart(*data))
    assert [bytes(part) for part in body[1:]] == data


def test_a_frame_may_have_more_buffers_than_the_kept_buffer_has_room_for() -> None:
    count = KEPT // 8 + 10
    sent = written(apart(*[b"x"] * count), "next")
    first, second = read_all([sent])
    assert (len(first), second) == (1 + count, "next")


# -- split anywhere -------------------------------------------------------------------------


def test_frames_may_be_split_at_every_byte() -> None:
    data = written(*SMALL)
    for cut in range(len(data) + 1):
        assert plain(read_all([data[:cut], data[cut:]])) == plain(SMALL)


def test_frames_may_come_byte_by_byte() -> None:
    data = written(*SMALL)
    assert plain(read_all([data[i : i + 1] for i in range(len(data))])) == plain(SMALL)


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.sampled_from([0, 10, 5000, KEPT - 40, KEPT, KEPT + 9, 700_000]), max_size=5),
    step=st.sampled_from([1000, 65_536, KEPT - 1, KEPT, 10**9]),
    out_of_band=st.booleans(),
)
def test_frames_of_any_sizes_survive_reads_of_any_sizes(
    sizes: list[int], step: int, out_of_band: bool
) -> None:
    bodies = [os.urandom(size) for size in sizes]
    sent = written(*[apart(b) if out_of_band else [b] for b in bodies])
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    assert [body[-1] for body in plain(read_all(pieces))] == bodies


def test_what_is_complete_is_not_kept_waiting_for_what_is_not() -> None:
    data = written("first", "second")
    reader = Reader(ScriptedEnd([data[:-1], data[-1:]]))  # type: ignore[arg-type]
    assert taken(reader) == ["first"]
    assert taken(reader) == ["second"]


# -- a full pipe ----------------------------------------------------------------------------


def test_a_writer_never_waits_for_a_full_pipe(pipe: Pipe) -> None:
    data = os.urandom(5_000_000)
    assert not pipe.writer.rest
    assert pipe.writer.write(data) is False
    assert pipe.writer.rest
    assert pipe.writer.write("behind") is False
    received: list[Any] = []
    while len(received) < 2:
        received += taken(pipe.reader)
        pipe.writer.flush()
    assert received == [data, "behind"]
    assert not pipe.writer.rest
    assert pipe.writer.flush() is True


@pytest.mark.parametrize("take", [1, 7, 12, 20, 1000])
def test_partial_writes_lose_and_double_nothing(take: int) -> None:
    bodies = [["x" * 50, *apart(b"y" * 30, b"")], None]
    end = ScriptedEnd(takes=[take, 0] * 1000)
    writer = Writer(end)  # type: ignore[arg-type]
    for body in bodies:
        writer.write(body)
    while not writer.flush():
        pass
    assert plain(read_all([end.written])) == plain(bodies)


def test_a_body_that_cannot_be_pickled_writes_nothing(pipe: Pipe) -> None:
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pipe.writer.write(lambda: None)
    assert not pipe.writer.rest
    assert pipe.carry("still in order") == ["still in order"]


# -- the end --------------------------------------------------------------------------------


def test_nothing_at_hand_is_no_end(pipe: Pipe) -> None:
    with pytest.raises(BlockingIOError):
        taken(pipe.reader)


def test_what_was_written_before_the_end_can_be_read(pipe: Pipe) -> None:
    pipe.writer.write("last words")
    pipe.writing.close()
    assert taken(pipe.reader) == ["last words"]
    with pytest.raises(EOFError):
        taken(pipe.reader)


def test_a_frame_that_a_death_cut_off_never_surfaces() -> None:
    whole, cut = written("whole"), written(["cut", pickle.PickleBuffer(b"off" * 100)])
    for length in range(len(cut)):
        assert read_all([whole + cut[:length]]) == ["whole"]


@pytest.mark.parametrize("ends", [pipe_ends, socket_ends])
def test_writing_to_nobody_raises(ends: Any) -> None:
    pipe = Pipe(*ends())
    pipe.reading.close()
    with pytest.raises(BrokenPipeError):
        pipe.writer.write("is anybody there?")
    pipe.close()


def test_an_end_may_be_closed_twice(pipe: Pipe) -> None:
    pipe.close()
    assert pipe.reading.fileno() == pipe.writing.fileno() == -1


# -- memory ---------------------------------------------------------------------------------


def test_the_memory_of_a_big_frame_is_not_kept(pipe: Pipe) -> None:
    """A reader waits for a long time between two frames, and there may be many readers."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        received = pipe.carry(apart(os.urandom(8_000_000)), b"x" * 8_000_000)
        del received
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000


def test_the_next_read_does_not_write_over_buffers_given_out(pipe: Pipe) -> None:
    (first,) = pipe.carry(apart(b"first" * 100))
    pipe.carry(apart(b"later" * 100))
    assert bytes(first[1]) == b"first" * 100


def test_a_writer_keeps_nothing_that_was_written() -> None:
    class Buffer(bytearray):
        """Can be referred to weakly."""

    data = Buffer(b"x" * 100)
    gone = weakref.ref(data)
    writer = Writer(ScriptedEnd())  # type: ignore[arg-type]
    writer.write(apart(data))
    del data
    gc.collect()
    assert gone() is None


# -- ends that travel -----------------------------------------------------------------------


def test_ends_are_not_inherited_by_programs() -> None:
    reading, writing = one_way()
    try:
        assert not os.get_inheritable(reading.fileno())
        assert not os.get_inheritable(writing.fileno())
    finally:
        reading.close()
        writing.close()


def test_a_pipe_end_travels_to_a_child_that_is_being_started() -> None:
    pipe = Pipe(*pipe_ends())
    received = travelled(pipe.reading)
    assert received.fileno() != pipe.reading.fileno()
    assert not os.get_inheritable(received.fileno())
    pipe.writer.write("hello")
    assert taken(Reader(received)) == ["hello"]
    received.close()
    pipe.close()


def test_a_socket_end_travels_to_a_child_that_is_being_started() -> None:
    pipe = Pipe(*socket_ends())
    received = travelled(pipe.reading)
    pipe.writer.write("hello")
    assert taken(Reader(received)) == ["hello"]
    received.close()
    pipe.close()


def test_where_pipes_cannot_be_waited_for_sockets_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    pipe = Pipe(*one_way())
    monkeypatch.undo()
    assert isinstance(pipe.reading, SocketEnd)
    assert pipe.carry("hello") == ["hello"]
    pipe.close()
