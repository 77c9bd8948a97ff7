"""Logic: the counters that outlive a worker. No process."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from aplex._wire.counters import Progress
from tests.support.spawning import travelled


def test_at_first_nothing_was_started() -> None:
    progress = Progress()
    assert progress.read() == (0, 0)
    progress.close()


def test_what_one_side_writes_the_other_reads() -> None:
    parent = Progress()
    child = travelled(parent)
    child.started[0] = 17
    child.started[1] = 2**40
    child.close()
    assert parent.read() == (17, 2**40)
    parent.close()


def test_it_has_no_name_that_could_be_left_behind() -> None:
    def named() -> set[Path]:
        folders = map(Path, ("/dev/shm", tempfile.gettempdir()))
        return {path for folder in folders for path in folder.glob("*aplex*")}

    before = named()  # of other programs: a cluster of the tests has a folder there
    progress = Progress()
    try:
        assert named() <= before
    finally:
        progress.close()


def test_closing_frees_its_descriptor_and_may_be_done_twice() -> None:
    progress = Progress()
    assert progress.file is not None
    fd = progress.file.fileno()
    memory = os.fstat(fd)
    progress.close()
    progress.close()
    with contextlib.suppress(OSError):  # unless another thread has the number by now, it is free
        assert not os.path.samestat(os.fstat(fd), memory)


def test_last_words_end_where_the_memory_does() -> None:
    """Nobody can change its size: a parent that reads beyond the end would be killed."""
    progress = Progress()
    assert progress.last_words() == ""
    assert progress.file is not None
    fd = progress.file.fileno()
    for size in (0, 2**30):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    os.write(fd, b"it was\n")
    assert progress.last_words() == "it was"
    os.write(fd, b"x" * 2**17)  # as much as there is room for
    assert progress.last_words().startswith("it was\nxxx")
    assert progress.read() == (0, 0)
    progress.close()


def test_without_memfd_an_unlinked_file_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    progress = Progress()
    child = travelled(progress)
    child.started[1] = 3
    assert progress.read() == (0, 3)
    child.close()
    progress.close()


def test_where_there_are_no_files_in_memory_one_without_a_name_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    progress = Progress()
    child = travelled(progress)
    child.started[1] = 5
    assert progress.read() == (0, 5)
    os.write(child.file.fileno(), b"last words")
    assert progress.last_words() == "last words"
    assert os.fstat(progress.file.fileno()).st_nlink == 0
    progress.close()
    child.close()
