"""Packs what worker processes are set up with: loop factory, initializer and its arguments.

It is pickled when the executor is made, as works are at ``submit``: every worker gets what it
was then, also one that replaces another. Locks, events, queues and shared values of
``multiprocessing`` pass from parent to child by inheritance only, while a process is being
started. So they are left out of the pickle, wherever in it they are, and travel beside it:
pickled anew for each worker (``spawn``, ``forkserver``), or as they are (``fork``).
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
import io
import pickle
import types
from collections.abc import Mapping, Sequence
from multiprocessing import reduction
from multiprocessing.context import set_spawning_popen
from typing import Any, Final

from aplex._common.errors import SerializationError
from aplex._common.locks import late_imports
from aplex._wire.calls import Buffers
from aplex._wire.culprits import culprit_of
from aplex._wire.packed_setup import PackedSetup, inherited

_NOT_INHERITED: Final = (
    *(functools.partial, types.MethodType),
    *(types.MethodDescriptorType, types.WrapperDescriptorType),
)
"""What ``multiprocessing`` knows to pickle, and others do as well."""


def pack_setup(value: Any, *, main_by_value: bool, by_fork: bool) -> PackedSetup:
    """Pickle a setup.

    Args:
        value: Loop factory, initializer and its arguments.
        main_by_value: Whether no worker can import this ``__main__``.
        by_fork: Whether workers are forked: what they inherit is not pickled then.

    Raises:
        SerializationError: It cannot travel; says why.
    """
    try:
        packed = _packed(value, main_by_value=main_by_value)
    except Exception as error:
        raise SerializationError(
            "the initializer, its arguments, the lifespan or the worker_loop_factory cannot be "
            f"pickled{_because(value, main_by_value=main_by_value)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if packed.inherited and not by_fork:
        _check(packed.inherited)
    return packed


def _because(value: Any, *, main_by_value: bool) -> str:
    """Return what of the setup cannot travel, if that is something which a function uses."""
    for part in value[:2]:
        culprit = culprit_of(part, functools.partial(_packed, main_by_value=main_by_value))
        if culprit:
            return f", because of {culprit}"
    return ""


def _packed(value: Any, *, main_by_value: bool) -> PackedSetup:
    """Pickle by ``cloudpickle`` where plain pickle cannot or must not."""
    with contextlib.suppress(Exception):  # any __reduce__ may raise anything
        packed, names_main = _dumped(pickle.Pickler, value)
        if not (main_by_value and names_main):
            return packed
    with late_imports.importing:
        import cloudpickle
    return _dumped(cloudpickle.Pickler, value)[0]


def _dumped(base: Any, value: Any) -> tuple[PackedSetup, bool]:
    """Return the packed value, and whether it may name something of ``__main__``."""
    beside: list[Any] = []
    numbers: dict[int, int] = {}  # of those, by their ids
    known = getattr(reduction.ForkingPickler(io.BytesIO()), "dispatch_table", {})

    class SetupPickler(base):  # type: ignore[misc]
        """Leaves out what is inherited. Is not asked about numbers, strings and containers."""

        def reducer_override(self, obj: Any) -> Any:
            if not _is_inherited(obj, known):
                override = getattr(super(), "reducer_override", None)
                return NotImplemented if override is None else override(obj)
            if id(obj) not in numbers:
                numbers[id(obj)] = len(beside)
                beside.append(obj)
            return inherited, (numbers[id(obj)],)

    file, buffers = io.BytesIO(), Buffers()
    SetupPickler(file, 5, buffer_callback=buffers).dump(value)
    data = file.getvalue()
    return PackedSetup([data, *map(bytearray, buffers.views)], beside), b"__main__" in data


def _is_inherited(obj: Any, known: Mapping[Any, Any]) -> bool:
    """Whether an object may pass to another process only when that one is started."""
    kind = type(obj)
    if kind in known:
        return kind not in _NOT_INHERITED and kind not in copyreg.dispatch_table
    if issubclass(kind, (type, BaseException)):
        return False
    return any(base.__module__.startswith("multiprocessing.") for base in kind.__mro__)


def _check(beside: Sequence[Any]) -> None:
    """Pickle what is inherited, as if a process were being started, to know whether it can be.

    Raises:
        SerializationError: It cannot; says why, and the cure.
    """
    trial: Any = _Trial()
    set_spawning_popen(trial)
    try:
        reduction.ForkingPickler(io.BytesIO(), 5).dump(beside)
    except Exception as error:
        kinds = ", ".join(dict.fromkeys(type(each).__qualname__ for each in beside))
        raise SerializationError(
            f"the initializer or its arguments have something ({kinds}) that workers cannot "
            f"inherit: {type(error).__name__}: {error}. Make it by "
            "multiprocessing.get_context(…), with the mp_context of the executor, which is "
            "'spawn' unless you choose another"
        ) from error
    finally:
        set_spawning_popen(None)


class _Trial:
    """What ``multiprocessing`` asks to pass a descriptor on; this one does not."""

    def duplicate_for_child(self, fd: int) -> int:
        return fd

    def DupFd(self, fd: int) -> int:  # noqa: N802 - so it is called there
        return fd
