"""The Launches: which remote workers are expected, or there; and who comes too late."""

from __future__ import annotations

import hmac
from typing import Final

from aplex._backends.remote.launch import Launch
from aplex._backends.remote.recent import Recent
from aplex._wire import handshake
from aplex._wire.handshake import Claim, LateError, RefusedError

PAST: Final = 256
"""Tokens of workers that are over, which are known to have been good once."""


class Launches(dict[int, Launch]):
    """Each from its order to its end, by the number of its worker."""

    def __init__(self) -> None:
        """Expect nobody."""
        super().__init__()
        self._past: Recent[int, bytes] = Recent(PAST)  # the tokens of the last ones that are over

    def end(self, launch: Launch) -> None:
        """Have its token void."""
        self.pop(launch.worker.id, None)
        self._past.note(launch.worker.id, launch.token)

    def admit(self, claim: Claim) -> None:
        """Note that the token of a launch is used for a channel.

        Raises:
            LateError: That worker is over.
            RefusedError: Nobody is expected whose claim that is.
        """
        launch = self.get(claim.number)
        token = self._past.get(claim.number, b"") if launch is None else launch.token
        if launch is None or not hmac.compare_digest(token, claim.token):
            late = launch is None and hmac.compare_digest(token, claim.token)
            raise (LateError if late else RefusedError)(
                "its token is not valid: the worker that was to have it has been given up, or has "
                "ended"
            )
        first = launch.control is None
        if claim.channel in launch.used or (claim.channel == handshake.CONTROL) != first:
            raise RefusedError("its token was used before")
        launch.used.add(claim.channel)
