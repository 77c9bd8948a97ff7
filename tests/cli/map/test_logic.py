"""`aplex map`: what is only logic."""

import argparse

import pytest

from aplex._cli.map import settings
from aplex._cli.map.arguments import prepare
from aplex._cli.map.halt import Halt, halt_rule
from aplex._cli.map.items import Format, pieces
from aplex._cli.map.lines import End, Style
from aplex._cli.map.status import status, summary
from aplex._journal.records import told


def items(data, form, size=3, *, keys=False):
    blocks = [data[n : n + size] for n in range(0, len(data), size)]
    return list(form.items(blocks, keys=keys))


@pytest.mark.parametrize("size", range(1, 12))
def test_lines_are_found_whatever_blocks_come(size):
    data = b"a\n\nlong line\xff\nend"
    found = [item.value for item in items(data, Format(), size)]
    assert found == ["a", "", "long line\udcff", "end"]


def test_an_item_is_made_before_the_next_block_is_asked_for():
    blocks = iter([b"a\nb", b"c\n"])
    found = pieces(blocks, b"\n")
    assert next(found) == b"a"
    assert next(blocks) == b"c\n"


def test_json_lines():
    found = items(b'{"a": 1}\n\n  \n[1]\nnot json\n"x"', Format("json"))
    assert [item.value for item in found] == [{"a": 1}, [1], None, "x"]
    assert [item.problem is None for item in found] == [True, True, False, True]
    assert [item.seq for item in found] == [1, 2, 3, 4]


def test_what_cannot_be_spread_is_a_problem_of_its_item():
    found = items(b"[1]\n{}\n5", Format("json", spread="args"))
    assert [str(item.problem or "") for item in found] == [
        "",
        "this is no JSON array",
        "this is no JSON array",
    ]


def test_json_nested_too_deeply_is_a_problem_of_its_item():
    (item,) = items(b"[" * 100_000, Format("json"), 10_000)
    assert item.problem is not None


def test_the_mark_before_the_first_row_is_no_part_of_it():
    """Excel and others write one (a "byte order mark") before UTF-8."""
    (row,) = items(b"\xef\xbb\xbfname,age\nAnn,3\n", Format("csv", header=True))
    assert row.value == {"name": "Ann", "age": "3"}
    (row,) = items(b"\xef\xbb\xbfa,b\n", Format("csv"))
    assert row.value == ["a", "b"]


def test_rows_of_csv_may_hold_line_feeds():
    found = items(b'a,"b\nc"\n\n1,"2"\n', Format("csv"))
    assert [item.value for item in found] == [["a", "b\nc"], ["1", "2"]]


def test_rows_with_a_header_are_objects():
    found = items(b"x,y\n1,2\n3\n", Format("csv", header=True))
    assert found[0].value == {"x": "1", "y": "2"}
    assert "1 columns, the header 2" in str(found[1].problem)


def test_keys_do_not_hang_on_how_json_is_written():
    one = items(b'{"a": 1, "b": 2}\n[1]', Format("json"), keys=True)
    other = items(b'[1]\n{"b":2,"a":1}', Format("json"), keys=True)
    assert {item.key for item in one} == {item.key for item in other}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("soon,fail=1", Halt(now=False, what="fail", count=1, percent=False)),
        ("now,success=3", Halt(now=True, what="success", count=3, percent=False)),
        ("now,done=10%", Halt(now=True, what="done", count=10, percent=True)),
        ("never", None),
    ],
)
def test_rules_of_halt(text, rule):
    assert halt_rule(text) == rule


@pytest.mark.parametrize("text", ["", "soon", "fail=1", "soon,fail=0", "now,fail=101%", "now,x=1"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        halt_rule(text)


def test_a_percentage_needs_three():
    rule = halt_rule("soon,fail=10%")
    assert not rule.reached(2, 2)
    assert rule.reached(30, 3)
    assert not rule.reached(31, 3)
    assert halt_rule("soon,success=2").reached(5, 3)
    assert not halt_rule("soon,success=2").reached(4, 3)


def test_numbers_of_workers():
    found = [settings.workers_of(text, 4) for text in ("3", "50%", "+1", "-1", "-9", "1%")]
    assert found == [3, 2, 5, 3, 1, 1]
    for text in ("0", "x", "", "%"):
        with pytest.raises(argparse.ArgumentTypeError):
            settings.jobs(text)


def test_rates():
    assert [settings.rate(text) for text in ("10", "2.5/s", "60/m", "3600/h")] == [10, 2.5, 1, 1]
    for text in ("0", "-1", "x", "1/d", "1/"):
        with pytest.raises(argparse.ArgumentTypeError):
            settings.rate(text)


def test_bounds():
    functions = settings.bounds_of(4, 1, None, None, awaited=False)
    assert (functions.items, functions.works, functions.ahead) == (8, 8, 16)
    coroutines = settings.bounds_of(4, 1, None, None, awaited=True)
    assert (coroutines.items, coroutines.ahead) == (100, 200)
    assert settings.bounds_of(4, 1, 500, None, awaited=True).ahead == 1000
    assert settings.bounds_of(4, 1, 500, 10, awaited=True).items == 10
    assert settings.bounds_of(1, 10, None, None, awaited=False).items == 20


def test_arguments_and_items_are_told_apart():
    assert prepare(["map", "m:f", ":::", "-x", ":::"]) == (["map", "m:f"], ["-x", ":::"])
    assert prepare(["--kwargs", "m:f"]) == (["--kwargs=", "m:f"], None)
    assert prepare(["--kwargs", '{"a":1}', "--kwargs"]) == (
        ['--kwargs={"a":1}', "--kwargs="],
        None,
    )


def an_end(value=None, error=None, text="a"):
    return End(items(text.encode(), Format(), 99)[0], value, error)


def test_results_are_lines():
    assert Style().render(an_end("x")) == b"x\n"
    assert Style().render(an_end(None)) == b""
    assert Style().render(an_end(b"\xff")) == b"\xff\n"
    assert Style().render(an_end("\udcff")) == b"\xff\n"
    assert Style(as_json=True).render(an_end(None)) == b"null\n"
    assert Style(as_json=True).render(an_end({"é": "\ud800"})) == b'{"\\u00e9": "\\ud800"}\n'
    assert Style(tagged=True).render(an_end(1)) == b"a\t1\n"


def test_what_is_no_json_is_a_failure():
    end = an_end({1, 2})
    assert Style(as_json=True).render(end) == b""
    assert isinstance(end.error, TypeError)


def test_a_failure_is_one_line_that_moves_no_cursor():
    end = an_end(error=ValueError("\x1b[31mred\nnext\r"), text="x" * 100)
    line = Style().failure(end)
    assert line.count(b"\n") == 1
    assert b"\x1b" not in line
    assert line.endswith(b"ValueError: \\x1b[31mred next\n")
    assert len(line) < 200
    assert told(KeyError()) == "KeyError"


def test_progress_and_last_words():
    assert status(5, 0, None, 0.5) == "aplex: 5"
    assert status(50, 2, 100, 10) == "aplex: 50/100 (50 %), 2 failed, 5/s, 0:00:10 left"
    assert summary(10, 0, 0, None) == "10 done"
    assert summary(10, 2, 3, "j") == (
        "8 done, 2 failed, 3 done before (--resume-failed --joblog j runs them again)"
    )
