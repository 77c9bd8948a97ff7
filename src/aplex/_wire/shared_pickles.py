"""Pickles an object that is to be shared: a pickle, and the buffers that it names (PEP 574).

All buffers are taken out of it, however small: so they are read-only in all workers, wherever they
lie there.
"""

from __future__ import annotations

import pickle
from typing import Any

from aplex._wire.calls import Buffers, CallEncoder


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
    data = encoder.dumps(obj, buffer_callback=buffers)
    return [data, *buffers.views]
