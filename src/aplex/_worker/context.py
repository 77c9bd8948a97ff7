"""What runs in a worker process around a work that has context variables with it.

They travel by the names of their modules, as functions do, with the values they had at `submit`;
the trace context of OpenTelemetry travels as W3C headers. A work finds them in a context of its
own, so nothing has to be reset after it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar, copy_context
from importlib import import_module
from typing import Any

from aplex._common.names import runs
from aplex._worker.lane import is_coroutine

Values = tuple[tuple[str, str, Any], ...]
"""Of each variable its module, its name there, and its value."""
Carried = tuple[Values, Mapping[str, str] | None]
"""Values, and the headers of a trace, if there is one."""

_found: dict[tuple[str, str], ContextVar[Any]] = {}


@runs(1)
def run_carrying(carried: Carried, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function, or what makes a stream, with what was carried.

    Raises:
        LookupError: A variable is not in this process.
        BaseException: What the function raises.
    """
    context = copy_context()
    context.run(_set, carried)
    made = context.run(work, *args, **kwargs)
    return _awaited(carried, made) if is_coroutine(made) else made


@runs(1)
async def run_coroutine_carrying(
    carried: Carried, work: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Any:
    """Run a coroutine function with what was carried. Its task has a context of its own.

    Raises:
        LookupError: A variable is not in this process.
        BaseException: What the function raises.
    """
    _set(carried)
    made: Any = work(*args, **kwargs)
    kind: Any = type(made)
    return await made if hasattr(kind, "__await__") else made


async def _awaited(carried: Carried, coroutine: Coroutine[Any, Any, Any]) -> Any:
    _set(carried)
    return await coroutine


def _set(carried: Carried) -> None:
    values, headers = carried
    for module, name, value in values:
        variable = _found.get((module, name)) or _find(module, name)
        variable.set(value)
    if headers is not None:
        from opentelemetry.context import attach
        from opentelemetry.propagate import extract

        attach(extract(headers))


def _find(module: str, name: str) -> ContextVar[Any]:
    variable = getattr(import_module(module), name, None)
    if not isinstance(variable, ContextVar):
        raise LookupError(  # noqa: TRY004 - it is not there, or something else is
            f"the worker does not find the context variable {name!r} of {module}: define it at "
            "the top of a module that workers can import"
        )
    _found[module, name] = variable
    return variable
