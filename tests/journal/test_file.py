"""Journals: what is in one counts, whatever became of its last line."""

import errno
import os
import subprocess
import sys

import pytest

from aplex._journal.file import JournalFile
from aplex._journal.index import Index
from aplex._journal.keys import Repeats, canonical, digest
from aplex._journal.records import head_of, line_of
from aplex.exceptions import JournalError

HEAD = head_of("m:f", {"items": "lines"})


def record(key, *, ok=True):
    return {"seq": 1, "key": key, "ok": ok, "error": None if ok else "ValueError: no"}


def write(path, *records):
    file = JournalFile(str(path), HEAD)
    for each in records:
        file.append(each)
    file.close()


def opened(path, **options):
    file = JournalFile(str(path), HEAD, **options)
    file.close()
    return file


def test_the_last_record_of_an_item_holds(tmp_path):
    write(tmp_path / "j", record("a", ok=False), record("b"), record("a"))
    index = opened(tmp_path / "j").index
    assert len(index) == 2
    assert index.find("a").ok
    assert index.find("c") is None


def test_a_record_can_be_read_again(tmp_path):
    write(tmp_path / "j", record("a"), {**record("b"), "value": [1, "é"]})
    file = JournalFile(str(tmp_path / "j"), HEAD)
    assert file.read(file.index.find("b"))["value"] == [1, "é"]
    file.close()


def test_cut_at_every_byte_it_has_all_whole_records_and_takes_more(tmp_path):
    whole = line_of(HEAD) + b"".join(line_of(record(key)) for key in "abc")
    ends = [n for n in range(len(whole) + 1) if whole[n : n + 1] in {b"\n", b""}]
    path = tmp_path / "j"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        write(path, record("d"))
        index = opened(path).index
        before = max(0, sum(end <= cut for end in ends[:4]) - 1)
        assert [key for key in "abc" if index.find(key)] == list("abc"[:before]), cut
        assert index.find("d") is not None, cut
        assert all(line.startswith(b"{") for line in path.read_bytes().splitlines()), cut


def test_records_are_found_whatever_blocks_they_are_read_in():
    data = line_of(HEAD) + line_of(record("a")) + line_of(record("b"))
    for size in range(1, len(data)):
        index = Index()
        index.read(iter([data[n : n + size] for n in range(0, len(data), size)]))
        assert (len(index), index.end, index.is_cut) == (2, len(data), False)


def test_a_line_in_the_middle_that_is_no_record_is_left_out(tmp_path):
    write(tmp_path / "j", record("a"))
    with (tmp_path / "j").open("ab") as file:
        file.write(b'rubbish\n[1]\n{"key": 5}\n' + line_of(record("b")))
    assert len(opened(tmp_path / "j").index) == 2


@pytest.mark.parametrize("content", [b"important", b"important\nnotes\n", b'{"a": 1}\n', b"[]\n"])
def test_what_is_no_journal_is_left_alone(tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(JournalError, match="no journal of aplex"):
        opened(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == content


def test_that_of_another_job_is_refused_unless_forced(tmp_path):
    write(tmp_path / "j", record("a"))
    path = str(tmp_path / "j")
    with pytest.raises(JournalError, match="journal of m:f, not of m:g"):
        JournalFile(path, head_of("m:g", {"items": "lines"}))
    with pytest.raises(JournalError, match="items='lines', not 'json'"):
        JournalFile(path, head_of("m:f", {"items": "json"}))
    file = JournalFile(path, head_of("m:g", {}), force=True)
    assert len(file.index) == 1
    file.close()


def test_one_without_records_may_be_of_anything(tmp_path):
    JournalFile(str(tmp_path / "j"), head_of("m:g", {})).close()
    write(tmp_path / "j", record("a"))
    assert (tmp_path / "j").read_bytes() == line_of(HEAD) + line_of(record("a"))


def test_a_later_format_is_refused_even_if_forced(tmp_path):
    (tmp_path / "j").write_bytes(line_of({**HEAD, "version": 2}) + line_of(record("a")))
    with pytest.raises(JournalError, match="version 2"):
        opened(tmp_path / "j", force=True)


def test_one_that_is_there_is_refused_if_it_must_be_new(tmp_path):
    (tmp_path / "j").touch()
    opened(tmp_path / "j", fresh=True)
    opened(tmp_path / "j", fresh=True)
    write(tmp_path / "j", record("a"))
    with pytest.raises(JournalError, match="there already"):
        opened(tmp_path / "j", fresh=True)


def test_two_runs_cannot_write_to_it_at_once(tmp_path):
    path = str(tmp_path / "j")
    file = JournalFile(path, HEAD)
    with pytest.raises(JournalError, match="another run"):
        JournalFile(path, HEAD)
    code = (
        "import sys; from aplex._journal.file import JournalFile\n"
        "try: JournalFile(sys.argv[1], {})\n"
        "except Exception as error: print(error)"
    )
    told = subprocess.check_output([sys.executable, "-c", code, path], text=True)
    assert "another run" in told
    file.close()
    opened(path)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = JournalFile(str(tmp_path / "j"), HEAD)
    file.append(record("a"))
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
    with pytest.raises(OSError, match="No space") as raised:
        file.append(record("b"))
    monkeypatch.undo()
    assert raised.value.errno == errno.ENOSPC
    file.append(record("c"))
    file.close()
    index = opened(tmp_path / "j").index
    assert [key for key in "abc" if index.find(key)] == ["a", "c"]


def test_a_device_can_be_one(tmp_path):
    opened("/dev/null")
    with pytest.raises(OSError, match="No space"):
        opened("/dev/full")


def test_keys_are_of_the_item_and_equal_ones_are_numbered():
    repeats = Repeats()
    a, b = digest(b"a"), digest(b"b")
    assert len(a) == 16
    assert [repeats.key(key) for key in (a, b, a, a)] == [a, b, f"{a}#2", f"{a}#3"]


def test_equal_items_have_the_same_json():
    assert canonical({"b": 1, "a": (1, 2)}) == canonical({"a": [1, 2], "b": 1})
    assert canonical("1") != canonical(1)
    with pytest.raises(TypeError):
        canonical(object())
    with pytest.raises(TypeError, match="bytes is neither"):
        canonical([b"a"])
