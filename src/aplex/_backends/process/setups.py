"""The Setups: what workers begin with, packed for either fate of the main module.

The initializer and its arguments are pickled when the executor is made, and whether workers can
import the main module is decided when the first of them starts. Where it looks, at first, as if
they cannot, both forms are kept until then.
"""

from __future__ import annotations

from typing import Any

from aplex._backends.process.main_module import MainModule
from aplex._common.errors import SerializationError
from aplex._wire.packed_setup import PackedSetup
from aplex._wire.setup_packer import pack_setup


class Setups:
    """The setup of the workers of one pool."""

    def __init__(
        self, parts: tuple[Any, Any, Any, Any], main: MainModule, *, by_fork: bool
    ) -> None:
        """Pickle it.

        Args:
            parts: Loop factory, initializer, its arguments, and what is around the works.
            main: What becomes of the main module.
            by_fork: Whether workers are forked.

        Raises:
            SerializationError: It cannot travel; says why.
        """
        self.first = pack_setup(parts, main_by_value=main.by_value, by_fork=by_fork)
        self._other: PackedSetup | SerializationError | None = None
        if any(parts) and not main.by_value and main.looks_unguarded():
            try:
                self._other = pack_setup(parts, main_by_value=True, by_fork=by_fork)
            except SerializationError as error:  # it may never be needed
                self._other = error

    def decide(self, main: MainModule) -> PackedSetup | None:
        """Return the setup to take instead of the first, if there is one; once.

        Raises:
            SerializationError: That cannot travel; says why.
        """
        other = self._other
        if not main.decide():
            self._other = other = None
        if isinstance(other, SerializationError):
            raise other
        self._other = None
        return other
