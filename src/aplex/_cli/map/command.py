"""`aplex map MODULE:FUNCTION`: a function of Python for each item of an input."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aplex._calls.lanes import lane_of
from aplex._cli.map.arguments import configure, prepare
from aplex._cli.map.descriptors import Streams, take_streams
from aplex._cli.map.driver import FAILED
from aplex._cli.map.dry_run import show
from aplex._cli.map.items import Again, Format, Item
from aplex._cli.map.job import Job
from aplex._cli.map.settings import Settings, bounds_of, settings_of, workers_of
from aplex._cli.map.sink import tell
from aplex._cli.map.source import blocks_of
from aplex._cli.map.target import TargetError, evaluate, import_target, spread
from aplex._common.cpus import usable_cpus
from aplex._common.errors import JournalError
from aplex._common.messages import COROUTINE
from aplex._journal.file import BINARY, JournalFile
from aplex._journal.records import head_of

__all__ = ["configure", "prepare", "run"]

USAGE = 2
INTERRUPTED = 130
OUTPUTS = ("record", "trace", "report")
"""Options that are files which are made of a recording."""


class UsageError(Exception):
    """The arguments are wrong, or what they name is not there."""


def run(options: argparse.Namespace) -> int:
    """Do it, and return the exit code."""
    streams = take_streams()
    try:
        return _run(options, streams)
    except (UsageError, TargetError, JournalError) as error:
        tell(streams.errors, f"aplex: {error}\n".encode("utf-8", "backslashreplace"))
        return USAGE
    except KeyboardInterrupt:  # before, or after, the loop handles it
        return INTERRUPTED


def _run(options: argparse.Namespace, streams: Streams) -> int:
    try:
        settings = settings_of(options)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if streams.output is None:
        tell(streams.errors, b"aplex: standard output is closed: the results have nowhere to go\n")
        return FAILED
    label, target, awaited = _target(options)
    lifespan = import_target(options.lifespan) if options.lifespan else None
    fd, blocks, form = _input(options, streams, settings.form)
    settings = dataclasses.replace(settings, form=form)
    _check_files(options, fd)
    with contextlib.ExitStack() as stack:
        journal = _journal(options, label, settings)
        if journal is not None:
            stack.callback(journal.close)
        if options.dry_run:
            return show(blocks, label, settings, _wanted(options, journal), streams.output)
        workers = workers_of(options.jobs or "100%", usable_cpus())
        job = Job(
            function=spread(target, settings.fixed, settings.form.spread, awaited=awaited),
            label=label,
            awaited=awaited,
            workers=workers,
            threads=options.threads,
            lifespan=lifespan,
            bounds=bounds_of(
                workers, options.chunk, options.in_flight, options.buffer, awaited=awaited
            ),
            settings=settings,
            blocks=blocks,
            input=fd,
            wanted=_wanted(options, journal),
            journal=journal,
            journal_path=options.joblog,
            outputs={n: getattr(options, n) for n in OUTPUTS if getattr(options, n)},
            record_items=options.joblog_items == "yes" if journal is not None else None,
            failures=_failures(options.failures, stack),
            again=Again(settings.form),
            output=streams.output,
            errors=streams.errors,
            progress=options.progress == "always"
            or (options.progress == "auto" and os.isatty(streams.errors)),
        )
        return asyncio.run(job.run())


def _target(options: argparse.Namespace) -> tuple[str, Callable[..., Any], bool]:
    """Return what is run: its name, itself, and whether it is a coroutine function."""
    if (options.expression is None) == (options.function is None):
        raise UsageError("give one of MODULE:FUNCTION and -e EXPR")
    label = options.function or f"-e {options.expression}"
    target: Any = (
        evaluate(options.expression) if options.expression else import_target(options.function)
    )
    try:
        return label, target, lane_of(target) == COROUTINE
    except TypeError as error:
        raise UsageError(f"{label}: {error}") from None


def _input(
    options: argparse.Namespace, streams: Streams, form: Format
) -> tuple[int | None, Iterable[bytes], Format]:
    """Return the input: its descriptor, if it has one, its blocks, and how items stand there."""
    if options.items is not None:
        if options.arg_file:
            raise UsageError("items come from -a or from :::, not from both")
        given = [os.fsencode(item) for item in options.items]
        end = b"\n" if form.kind == "csv" else b"\0"
        data = b"".join(item + end for item in given)
        return None, [data], dataclasses.replace(form, separator=end)
    fd = streams.input
    if options.arg_file and options.arg_file != "-":
        try:
            fd = os.open(options.arg_file, os.O_RDONLY | BINARY)
        except OSError as error:
            raise UsageError(f"the items cannot be read: {error}") from None
    if fd is None:
        raise UsageError("standard input is closed: name items after :::, or a file with -a")
    if os.isatty(fd):
        tell(streams.errors, b"aplex: reading items from the terminal, one a line; Ctrl-D ends\n")
    return fd, blocks_of(fd), form


def _check_files(options: argparse.Namespace, fd: int | None) -> None:
    """Refuse to write to a file that is read, or to write two things to one."""
    found: dict[tuple[int, int], str] = {}
    for name, path in (("items", fd), ("joblog", options.joblog), ("failures", options.failures)):
        try:
            status = os.stat(path) if path is not None else None  # noqa: PTH116 - or a descriptor
        except OSError:
            continue  # it is not there
        if status is None or not stat.S_ISREG(status.st_mode):
            continue
        other = found.setdefault((status.st_dev, status.st_ino), name)
        if other != name:
            raise UsageError(f"the {name} and the {other} are the same file")


def _journal(options: argparse.Namespace, label: str, settings: Settings) -> JournalFile | None:
    if options.joblog is None:
        return None
    if options.dry_run and not Path(options.joblog).exists():
        return None  # which would make it
    form = settings.form
    meaning = {"items": form.kind, "spread": form.spread, "header": form.header}
    head = head_of(label, {**meaning, "kwargs": settings.fixed})
    resumes = options.resume or options.resume_failed
    try:
        return JournalFile(options.joblog, head, fresh=not resumes, force=options.force)
    except JournalError as error:
        hint = "" if resumes or "there already" not in str(error) else ": --resume goes on with it"
        force = "; --force takes it as it is" if resumes and "format" not in str(error) else ""
        raise UsageError(f"{error}{hint}{force}") from None
    except OSError as error:
        raise UsageError(f"the joblog cannot be written: {error}") from None


def _wanted(
    options: argparse.Namespace, journal: JournalFile | None
) -> Callable[[Item], bool] | None:
    """Return what says whether an item is to be run, if not all are."""
    if journal is None or not len(journal.index):
        return None
    index, again = journal.index, options.resume_failed

    def wanted(item: Item) -> bool:
        place = index.find(item.key)
        return place is None or (again and not place.ok)

    return wanted


def _failures(path: str | None, stack: contextlib.ExitStack) -> int | None:
    if path is None:
        return None
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | BINARY)
    except OSError as error:
        raise UsageError(f"the failures cannot be written: {error}") from None
    stack.callback(os.close, fd)
    return fd
