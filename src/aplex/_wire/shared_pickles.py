"""Pickles an object that is to be shared: a pickle, and the buffers that it names (PEP 574).

All buffers are taken out of it, however small: so they are read-only in all workers, wherever they
lie there.

Polars pickles its frames as bytes, which each worker would have to copy. So they travel as Arrow
tables, which have buffers, where there is pyarrow, and where they come back as they were.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable
from typing import Any, TypeAlias

from aplex._common.locks import late_imports
from aplex._wire.calls import Buffers, CallEncoder, dumps

Reduce: TypeAlias = Callable[[Any], Any]


class AllBuffers(Buffers):
    """Takes the buffers of a pickle out of it; empty ones have nothing that could be changed."""

    def __call__(self, buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if not view.nbytes:
            return True
        self.views.append(view)
        return False


def pickled(obj: Any, encoder: CallEncoder) -> list[bytes | memoryview]:
    """Return the pickle and its buffers.

    Raises:
        Exception: It cannot be pickled: what a ``__reduce__`` raises, or ``pickle``.
    """
    buffers = AllBuffers()
    by = dumps if "polars" not in sys.modules else _dumps_with_polars
    data = encoder.dumps(obj, buffer_callback=buffers, by=by)
    return [data, *buffers.views]


def _dumps_with_polars(
    value: Any, *, by_value: bool = False, buffer_callback: Buffers | None = None
) -> bytes:
    """Do what `dumps` does, with frames of polars as Arrow tables."""
    assert buffer_callback is not None
    reducers = _polars_reducers(sys.modules["polars"])
    if not by_value:
        try:
            return _dumped(pickle.Pickler, value, reducers, buffer_callback)
        except Exception:  # noqa: BLE001, S110 - any __reduce__ may raise anything
            pass
    with late_imports.importing:
        import cloudpickle

    buffer_callback.views.clear()
    return _dumped(cloudpickle.Pickler, value, reducers, buffer_callback)


def _dumped(kind: Any, value: Any, reducers: dict[Any, Reduce], buffers: Buffers) -> bytes:
    file = io.BytesIO()
    pickler = kind(file, 5, buffer_callback=buffers)
    known = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
    pickler.dispatch_table = ChainMap(reducers, known)
    pickler.dump(value)
    return file.getvalue()


def _polars_reducers(polars: Any) -> dict[Any, Reduce]:
    def frame(obj: Any) -> Any:
        table = _as_arrow(obj)
        if table is not None and polars.from_arrow(table.slice(0, 0)).schema == obj.schema:
            return polars.from_arrow, (table,)
        return obj.__reduce_ex__(5)

    def series(obj: Any) -> Any:
        array = _as_arrow(obj)
        if array is not None and polars.Series(obj.name, array.slice(0, 0)).dtype == obj.dtype:
            return polars.Series, (obj.name, array)
        return obj.__reduce_ex__(5)

    kinds = getattr(polars, "DataFrame", None), getattr(polars, "Series", None)
    return {kind: reduce for kind, reduce in zip(kinds, (frame, series), strict=True) if kind}


def _as_arrow(obj: Any) -> Any:
    """Return it as what Arrow knows; None if there is no pyarrow, or it knows no such thing."""
    try:
        return obj.to_arrow()
    except Exception:  # noqa: BLE001 - of others
        return None
