"""`aplex map`: whole programs that come to their end."""

import json
import os
import pty

import pytest

import aplex

pytestmark = pytest.mark.measured


def numbers(count):
    return "".join(f"{n}\n" for n in range(1, count + 1))


def test_a_line_is_an_item_and_a_result_is_a_line(shell):
    ran = shell.map("work:double", stdin="a\nb c\n")
    assert (ran.code, sorted(ran.lines), ran.err) == (0, ["aa", "b cb c"], "")


@pytest.mark.parametrize("kind", [[], ["--threads"]])
def test_coroutine_functions_in_order(shell, kind):
    ran = shell.map("work:anap", "-k", *kind, stdin="0.3\n0\n0.1\n")
    assert (ran.code, ran.lines) == (0, ["0.3", "0", "0.1"])


def test_results_come_as_they_complete(shell):
    ran = shell.map("work:anap", ":::", "1", "0", "0.5")
    assert ran.lines == ["0", "0.5", "1"]


@pytest.mark.parametrize("chunk", ["1", "7", "auto"])
@pytest.mark.parametrize("kind", [[], ["--threads"]])
def test_chunks(shell, chunk, kind):
    ran = shell.map("work:same", "-k", "--chunk", chunk, *kind, stdin=numbers(500))
    assert (ran.code, ran.lines, ran.err) == (0, [str(n) for n in range(1, 501)], "")


def test_functions_within_classes(shell):
    assert shell.map("work:Box.get", ":::", "a").lines == ["a"]
    assert shell.map("work:Box.name", ":::", "a").lines == ["Boxa"]


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ("work.py:same", "work:same"),
        ("./work.py:same", "work:same"),
        ("lib/work:same", "PYTHONPATH=lib aplex map work:same"),
    ],
)
def test_a_file_in_the_place_of_a_module_is_told_its_module(shell, given, cure):
    ran = shell.map(given, ":::", "a")
    assert (ran.code, ran.lines) == (2, [])
    assert ran.err.endswith(f".py' is a file; name its module: {cure}\n")


def test_an_expression_imports_what_it_names(shell):
    ran = shell.map("-e", "lambda x: os.path.basename(x) + urllib.parse.quote('ä')", ":::", "/a/b")
    assert ran.lines == ["b%C3%A4"]


def test_an_expression_may_return_coroutines(shell):
    ran = shell.map("-e", "lambda x: asyncio.sleep(float(x), x)", ":::", "0.5", "0")
    assert ran.lines == ["0", "0.5"]


def test_items_that_run_again_keep_their_place(shell):
    ran = shell.map("work:second_time", "-k", "--retries", "1", stdin=numbers(20))
    assert ran.lines == [str(n) for n in range(1, 21)]


def test_items_are_data(shell):
    hostile = ["$(touch x)", "; ls", "'", '"', "--help", "-x", "*", "__import__('os')", ""]
    assert shell.map("work:same", "-k", ":::", *hostile).lines == hostile
    assert os.listdir(shell.folder) == ["work.py"]


INPUTS = {
    "empty": (b"", []),
    "no final newline": (b"a\nb", ["'a'", "'b'"]),
    "empty lines": (b"\na\n\n", ["''", "'a'", "''"]),
    "invalid UTF-8": (b"\xff\n", ["'\\udcff'"]),
    "carriage returns": (b"a\r\n", ["'a\\r'"]),
}


@pytest.mark.parametrize("name", INPUTS)
def test_input(shell, name):
    data, expected = INPUTS[name]
    ran = shell.map("work:show", "-k", stdin=data)
    assert (ran.code, ran.lines, ran.err) == (0, expected, "")


def test_a_line_of_ten_megabytes(shell):
    ran = shell.map("work:length", stdin=b"x" * 10_000_000 + b"\ny")
    assert sorted(ran.lines) == ["1", "10000000"]


def test_bytes_that_are_no_text_come_out_as_they_came_in(shell):
    ran = shell.map("work:same", "--tag", stdin=b"\xff\xfe\n")
    assert ran.out == b"\xff\xfe\t\xff\xfe\n"


def test_nul_ends_items(shell):
    ran = shell.map("work:show", "-0", "-k", stdin=b"a\nb\0c\0")
    assert ran.lines == ["'a\\nb'", "'c'"]


def test_json(shell):
    ran = shell.map("work:double", "--json", "-k", stdin='[1]\n"a"\n2\nnope\n')
    assert ran.values == [[1, 1], "aa", 4]
    assert ran.code == 1
    assert ran.err.startswith('aplex: item 4 ("nope"): ValueError: this is no JSON: ')


def test_arguments_are_spread(shell):
    assert shell.map("work:add", "--args", ":::", "[1, 2]").lines == ["3"]
    assert shell.map("work:add", "--kwargs", ":::", '{"a": 1, "b": 2}').lines == ["3"]
    ran = shell.map("work:add", "--json", "--kwargs", '{"b": 10}', ":::", "1")
    assert ran.values == [11]
    assert shell.map("--kwargs", "work:add", ":::", '{"a": 1}').lines == ["1"]


def test_csv(shell):
    data = 'a,b\n"x,1",2\n'
    assert shell.map("work:show", "--csv", "-k", stdin=data).lines == ["['a', 'b']", "['x,1', '2']"]
    assert shell.map("work:show", "--csv", "--header", stdin=data).lines == [
        "{'a': 'x,1', 'b': '2'}"
    ]
    assert shell.map("work:add", "--csv", "--kwargs", stdin=data).lines == ["x,12"]
    assert shell.map("work:add", "--csv", "--args", "-k", stdin=data).lines == ["ab", "x,12"]
    assert shell.map("work:same", "--csv", "--json", stdin="1,2\n").values == [["1", "2"]]


def test_what_functions_print_is_no_result_and_what_they_read_is_no_item(shell):
    ran = shell.map("work:noisy", ":::", "a")
    assert (ran.lines, ran.err) == (["a"], "noise\n")
    assert shell.map("work:hungry", "-k", stdin="a\nb\n").lines == ["a", "b"]


def test_results_of_no_or_other_kinds(shell):
    assert shell.map("work:nothing", ":::", "a").out == b""
    assert shell.map("work:nothing", "--json", ":::", "1").out == b"null\n"
    assert shell.map("work:raw", ":::", "a").out == b"\xffa\n"
    ran = shell.map("work:unprintable", "--json", ":::", "1")
    assert (ran.code, ran.out) == (1, b"")
    assert "TypeError: Object of type object is not JSON serializable" in ran.err


def test_a_failure_is_one_line_and_the_others_go_on(shell):
    ran = shell.map("work:inverse", "-k", stdin="1\n0\n2\n")
    assert (ran.code, ran.lines) == (1, ["1.0", "0.5"])
    assert ran.err == 'aplex: item 2 ("0"): ZeroDivisionError: division by zero\n'


def test_hostile_errors(shell):
    ran = shell.map("work:bad_error", ":::", "a")
    assert "NotPrintable" in ran.err
    assert ran.err.count("\n") == 1
    assert "\x1b" not in shell.map("work:colours", ":::", "a").err


def test_tracebacks_if_asked_for(shell):
    ran = shell.map("work:inverse", "--verbose", ":::", "0")
    assert "in inverse\n" in ran.err


def test_outcomes(shell):
    ran = shell.map("work:inverse", "--outcomes", "-k", ":::", "1", "0")
    good, bad = ran.values
    assert (good["seq"], good["item"], good["ok"], good["value"]) == (1, "1", True, 1.0)
    assert (bad["ok"], bad["error"]) == (False, "ZeroDivisionError: division by zero")
    assert good["worker"] in {1, 2, 3, 4}
    assert good["run"] >= 0
    assert "key" not in good


def test_tags(shell):
    assert shell.map("work:double", "--tag", ":::", "a").out == b"a\taa\n"


def test_retries_of_what_raises(shell):
    ran = shell.map("work:second_time", "--retries", "1", "--outcomes", ":::", "a", "b")
    assert ran.code == 0
    assert [value["attempts"] for value in ran.values] == [2, 2]
    assert sorted(shell.notes()) == ["a", "a", "b", "b"]


def test_retries_of_what_kills_its_worker(shell):
    ran = shell.map("work:die", "--retries", "1", "--outcomes", "-j", "1", ":::", "a")
    assert ran.code == 1
    assert ran.values[0]["attempts"] == 2
    assert ran.err.startswith('aplex: item 1 ("a"): WorkQuarantinedError: work:die was started 2')


def test_a_timeout_is_of_one_attempt(shell):
    ran = shell.map("work:nap", "--timeout", "0.3", "-k", ":::", "0", "60", "0.1")
    assert (ran.code, ran.lines) == (1, ["0", "0.1"])
    assert 'item 2 ("60"): TimeoutError' in ran.err


@pytest.mark.parametrize("items", [(":::", "60"), ("--args", ":::", "[60]")])
def test_a_timeout_names_the_function(shell, items):
    ran = shell.map("work:anap", "--timeout", "0.3", *items)
    assert "TimeoutError: work.anap did not end within 0.3 s" in ran.err


@pytest.mark.parametrize("limit", [["--rate", "20/s"], ["--max-concurrency", "1"]])
def test_limits(shell, limit):
    ran = shell.map("work:anap", "--outcomes", *limit, ":::", *["0.05"] * 16)
    begins = sorted(value["submitted"] + value["wait"] for value in ran.values)
    assert begins[-1] - begins[0] > 0.2


@pytest.mark.parametrize("kind", [(), ("--threads",)], ids=["processes", "threads"])
def test_what_the_pool_did_is_written(shell, tmp_path, kind):
    names = ("run.aplex", "run.pftrace", "run.html")
    files = [tmp_path / name for name in names]
    wanted = [
        word
        for option, file in zip(("--record", "--trace", "--report"), files, strict=True)
        for word in (option, str(file))
    ]
    done = shell.map("work:double", *kind, *wanted, stdin=numbers(20))
    assert done.code == 0
    assert len(aplex.read(files[0]).works()["id"]) == 20
    assert files[1].stat().st_size > 0
    assert "work:double" in files[2].read_text()


def test_a_recording_that_cannot_be_written_is_told(shell, tmp_path):
    path = tmp_path / "nowhere" / "run.html"
    done = shell.map("work:double", "--report", str(path), stdin=numbers(3))
    assert done.code == 1
    assert len(done.lines) == 3
    assert "the report cannot be written: No such file or directory" in done.err


def test_halt_soon_lets_finish_what_runs(shell):
    ran = shell.map("work:inverse", "--halt", "soon,fail=1", "-j", "1", stdin="0\n" + "1\n" * 1000)
    assert ran.code == 3
    assert len(ran.lines) < 20
    assert ran.err.endswith("aplex: stopped as --halt says\n")


def test_halt_now_stops_what_runs(shell):
    ran = shell.map("work:nap", "--halt", "now,fail=1", "-j", "2", stdin="x\n60\n60\n")
    assert (ran.code, ran.lines) == (3, [])


def test_halt_at_the_first_success_is_a_success(shell):
    ran = shell.map("work:anap", "--halt", "now,success=1", ":::", "60", "0.1", "60")
    assert (ran.code, ran.lines) == (0, ["0.1"])


def test_failures_are_an_input_again(shell):
    shell.map("work:inverse", "--failures", "again", stdin="1\n0\nx\n")
    assert sorted((shell.folder / "again").read_bytes().splitlines()) == [b"0", b"x"]
    shell.map("work:inverse", "-0", "--failures", "again", stdin=b"0\0")
    assert (shell.folder / "again").read_bytes() == b"0\0"
    shell.map("work:inverse", "--csv", "--kwargs", "--failures", "again", stdin="x,y\n1,2\n")
    assert (shell.folder / "again").read_bytes() == b"x,y\n1,2\n"


def test_a_lifespan(shell):
    ran = shell.map("work:state", "--lifespan", "work:surroundings", ":::", "a")
    assert ran.lines == ["from the lifespan"]


def test_workers_that_cannot_start(shell):
    ran = shell.map("work:state", "--lifespan", "work:broken_surroundings", ":::", "a")
    assert ran.code == 4
    assert "the pool is broken" in ran.err
    assert "no such server" in ran.err


def test_a_dry_run_shows_the_calls(shell):
    ran = shell.map("work:effect", "--dry-run", ":::", "a", "b'")
    assert ran.lines == ["work:effect('a')", 'work:effect("b\'")']
    assert shell.notes() == []
    shell.map("work:effect", "--dry-run", "--joblog", "log", ":::", "a")
    assert not (shell.folder / "log").exists()
    ran = shell.map("work:add", "--args", "--kwargs", '{"b": 2}', "--dry-run", ":::", "[1]")
    assert ran.lines == ["work:add(1, b=2)"]


WRONG = {
    "work:nope": "the module 'work' has no 'nope'",
    "nope:x": "there is no module 'nope'; looked in ",
    "work": "is not of the form MODULE:FUNCTION",
    "os:name": "must be callable",
    "-e x": "'x' is neither a builtin nor a module",
    "-e (": "SyntaxError",
    "work:same -e x": "give one of",
    "": "give one of",
    "work:same -a nope": "No such file",
    "work:same --resume": "--resume needs --joblog",
    "work:same --chunk 5 --timeout 1": "omit --chunk",
    "work:same --args --kwargs": "not both",
    "work:same -a f -a g ::: b": "not from both",
    "work:same --joblog nope/f": "the joblog cannot be written",
    "work:same --failures nope/f": "the failures cannot be written",
    "work:same --header": "--header goes with --csv",
    "work:same --halt nope": "is not now|soon",
    "work:same --kwargs {": "is no JSON",
    "work:same --nope": "unrecognized arguments",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_arguments(shell, arguments):
    ran = shell.map(*arguments.split(), *([] if " -a" in arguments else [":::", "a"]))
    assert (ran.code, ran.out) == (2, b"")
    assert WRONG[arguments] in ran.err
    assert "Traceback" not in ran.err


def test_a_file_is_not_read_and_written(shell):
    (shell.folder / "f").write_text("a\n")
    ran = shell.map("work:same", "-a", "f", "--failures", "f")
    assert ran.code == 2
    assert "same file" in ran.err
    assert (shell.folder / "f").read_text() == "a\n"


def test_items_come_as_late_as_they_like(shell):
    """A result is there before the next item is."""
    with shell.start("work:double", stderr=None) as process:
        for item in (b"a", b"b", b"c"):
            process.stdin.write(item + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == item * 2 + b"\n"
        process.stdin.close()
        assert process.wait(20) == 0


def test_no_more_is_read_than_the_buffer_holds(shell):
    """In order, behind an item that takes long: the input waits."""
    data = b"1.5\n" + b"0\n" * 300_000
    with shell.start("work:anap", "-k", "--buffer", "10", "--outcomes", stderr=None) as process:
        process.stdin.write(data[:40])
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        rest = [json.loads(process.stdout.readline()) for _ in range(9)]
        process.stdout.close()
        process.stdin.close()
        process.wait(20)
    assert first["seq"] == 1
    assert all(value["submitted"] < first["submitted"] + 1 for value in rest)


def test_progress_is_on_a_terminal_only(shell):
    with shell.terminal("work:anap", ":::", "0", "0.7", "x") as terminal:
        shown = terminal.read_all()
        out = terminal.process.stdout.read()
    assert sorted(out.splitlines()) == [b"0", b"0.7"]
    assert "aplex: 2" in shown
    assert "1 failed" in shown
    assert shown.endswith("aplex: 2 done, 1 failed\r\n")
    with shell.terminal("work:same", "--progress", "never", ":::", "a") as terminal:
        assert terminal.read_all() == ""


def test_progress_knows_how_many_lines_a_file_has(shell):
    (shell.folder / "items").write_text("0\n0\n1\n")
    with shell.terminal("work:anap", "-a", "items") as terminal:
        assert "2/3 (66 %)" in terminal.read_all()


def test_results_and_progress_on_one_terminal_are_not_mixed(shell):
    ours, theirs = pty.openpty()
    process = shell.start("work:anap", ":::", "0", "0.6", stdout=theirs, stderr=theirs)
    os.close(theirs)
    got = b""
    try:
        while data := os.read(ours, 65536):
            got += data
    except OSError:
        pass
    process.communicate()
    os.close(ours)
    assert b"\x1b[K0\r\n" in got or got.startswith(b"0\r\n")
    assert b"\x1b[K0.6\r\n" in got
