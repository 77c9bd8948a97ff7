"""Sends context variables along with calls to worker processes.

It stands before the encoder of the back end, and is only there if an executor has ``context``, or
OpenTelemetry is in use. (Threads need none of it: works run in a copy of the caller's context.)
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final

from aplex._calls.lanes import lane_of
from aplex._common.errors import SerializationError
from aplex._common.messages import COROUTINE
from aplex._common.names import describe
from aplex._wire.by_value import WithContext
from aplex._worker.context import Carried, run_carrying, run_coroutine_carrying

Encode = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], tuple[Any, Any]]
_UNSET: Final = object()


def carrying(encode: Encode, variables: Sequence[ContextVar[Any]]) -> Encode:
    """Return an encoder that sends variables along; the same one if there is nothing to send.

    Raises:
        ValueError: A variable has no name by which a worker finds it.
    """
    inject: Any = None
    if "opentelemetry.context" in sys.modules:
        try:
            from opentelemetry import propagate

            inject = propagate.inject
        except ImportError:  # not installed: a module of somebody else, or a stand-in
            pass
    if not variables and inject is None:
        return encode
    return Carrying(encode, variables, inject).encode


class Carrying:
    """Wraps calls; those that have nothing to carry stay as they are."""

    def __init__(
        self,
        encode: Encode,
        variables: Sequence[ContextVar[Any]],
        inject: Callable[[dict[str, str]], None] | None,
    ) -> None:
        self._encode = encode
        self._variables = [(*_place_of(variable), variable) for variable in variables]
        self._inject = inject

    def encode(
        self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Encode a call with the values that the caller's context has now.

        Raises:
            SerializationError: The call, or a value, cannot be pickled; says what.
        """
        if self._inject is None:
            for _, _, variable in self._variables:  # most often none is set: it costs little then
                if variable.get(_UNSET) is not _UNSET:
                    break
            else:
                return self._encode(work, args, kwargs)
        carried = self._carried()
        if carried is None:
            return self._encode(work, args, kwargs)
        run = run_coroutine_carrying if lane_of(work) == COROUTINE else run_carrying
        try:
            data = pickle.dumps((run, carried), 5)
        except Exception:
            self._check(carried, work)
            raise
        function, call = self._encode(work, args, kwargs)
        return WithContext(function, data), call

    def _carried(self) -> Carried | None:
        values = tuple(
            (module, name, value)
            for module, name, variable in self._variables
            if (value := variable.get(_UNSET)) is not _UNSET
        )
        headers: dict[str, str] = {}
        if self._inject is not None:
            self._inject(headers)
        return (values, headers or None) if values or headers else None

    def _check(self, carried: Carried, work: Callable[..., Any]) -> None:
        for _, name, value in carried[0]:
            try:
                pickle.dumps(value)
            except Exception as error:  # any __reduce__ may raise anything
                raise SerializationError(
                    f"the value of the context variable {name!r} of {describe(work)} cannot be "
                    f"pickled: {type(error).__name__}: {error}"
                ) from error


def _place_of(variable: ContextVar[Any]) -> tuple[str, str]:
    """Return the module in which a variable is found, and its name there.

    Raises:
        ValueError: It is in none.
    """
    for module_name, module in list(sys.modules.items()):
        space: dict[str, Any] = getattr(module, "__dict__", None) or {}
        if space.get(variable.name) is variable:
            return module_name, variable.name
    for module_name, module in list(sys.modules.items()):
        names: dict[str, Any] = getattr(module, "__dict__", None) or {}
        for name, value in list(names.items()):
            if value is variable:
                return module_name, name
    raise ValueError(
        f"context has a variable that workers cannot find, {variable.name!r}: it must be a global "
        "name of a module"
    )
