"""Shares arrays and frames, and looks where their buffers lie in a worker.

For a process of its own, which `start` makes an executor in, and for its workers: the libraries are
big, and imported only there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aplex import ProcessAsyncPoolExecutor

ROWS = 50_000
KINDS = ("numpy", "numpy, in columns", "arrow", "pandas", "polars", "polars, a series")

pools: list[Any] = []


def start() -> None:
    pools.append(ProcessAsyncPoolExecutor(1, mp_context="spawn"))
    pools[0].start()


def stop() -> None:
    pools[0].shutdown()


def made(kind: str) -> Any:
    import numpy as np

    columns = {
        "x": np.arange(ROWS, dtype=float),
        "n": np.arange(ROWS),
        "s": [f"row {number}" for number in range(ROWS)],
    }
    if kind == "numpy":
        return columns["x"]
    if kind == "numpy, in columns":
        return np.asfortranarray(np.ones((500, 500)))
    if kind == "arrow":
        import pyarrow as pa

        return pa.table(columns)
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame(columns)
    import polars as pl

    return pl.DataFrame(columns) if kind == "polars" else pl.Series("x", columns["x"])


# -- in the process that has the executor -------------------------------------


def where_it_lies(kind: str) -> tuple[str, bool]:
    """Return the permissions of the mapping in which it lies, and whether it is read-only."""
    with pools[0].share(made(kind)) as handle:
        return pools[0].submit(LOOKS[kind.partition(",")[0]], handle).result()


def comes_as_it_was(kind: str) -> bool:
    was = made(kind)
    with pools[0].share({"inside": [was]}) as handle:
        now = pools[0].submit(inside, handle).result()
    assert type(now) is type(was)
    return bool((now == was).all() if kind.startswith("numpy") else now.equals(was))


def small(shape: tuple[int, ...]) -> str:
    import numpy as np

    array = np.ones(shape)
    with pools[0].share(array) as handle:
        assert (pools[0].submit(inside, {"inside": [handle]}).result() == array).all()
        writeable = pools[0].submit(is_writeable, handle).result()
    return "empty" if not array.size else "writeable" if writeable else "read-only"


def what_a_writer_gets() -> str:
    import numpy as np

    with pools[0].share(np.zeros(ROWS)) as handle:
        error = pools[0].submit(write, handle).exception()
        assert isinstance(error, ValueError)
        assert not pools[0].submit(any_of, handle).result()
        return str(error)


def types_of_polars() -> tuple[str, str]:
    """Return those of a frame before and after."""
    import polars as pl

    types: dict[str, Any] = {"c": pl.Enum(["a", "b"]), "n": pl.Int8, "d": pl.Duration("ms")}
    was = pl.DataFrame({"c": ["a", "b"], "n": [1, None], "d": [0, 1]}, schema=types)
    with pools[0].share(was) as handle:
        now = pools[0].submit(inside, {"inside": [handle]}).result()
    assert now.equals(was)
    return str(was.schema), str(now.schema)


# -- in its workers -----------------------------------------------------------


def of_array(array: Any) -> tuple[str, bool]:
    return mode_at(array.ctypes.data), not array.flags.writeable


def of_arrow(table: Any) -> tuple[str, bool]:
    buffer = table.column("x").chunk(0).buffers()[1]
    return mode_at(buffer.address), not buffer.is_mutable


def of_pandas(frame: Any) -> tuple[str, bool]:
    return of_array(frame["x"].to_numpy())


def of_polars(frame: Any) -> tuple[str, bool]:
    series = frame["x"] if hasattr(frame, "columns") else frame
    return of_array(series.to_numpy(allow_copy=False))


LOOKS: dict[str, Callable[[Any], tuple[str, bool]]] = {
    "numpy": of_array,
    "arrow": of_arrow,
    "pandas": of_pandas,
    "polars": of_polars,
}


def inside(holder: Any) -> Any:
    return holder["inside"][0]


def is_writeable(array: Any) -> bool:
    return bool(array.flags.writeable)


def write(array: Any) -> None:
    array[0] = 1


def any_of(array: Any) -> bool:
    return bool(array.any())


def mode_at(address: int) -> str:
    with open("/proc/self/maps") as maps:
        for line in maps:
            where, mode, *rest = line.split()
            start, end = (int(part, 16) for part in where.split("-"))
            if start <= address < end and any("memfd:aplex" in part for part in rest):
                return mode
    return ""
