"""The handshake of a connection between a pool and a worker elsewhere. Logic only, on bytes.

Who can connect to a port may be anybody. So nothing is unpickled, and nothing is unmarshalled,
before both sides have proved that they know the secret of the pool:

1. The pool greets: magic, version of the protocol, a nonce.
2. The worker answers: magic, version, which channel of which worker this is, the single-use token
   that the worker was started with, what software it runs, a nonce; and a MAC (HMAC-SHA256, RFC
   2104) of all that and of the pool's nonce.
3. The pool says yes, with a MAC of both nonces; or no, with one line that says why.

A recorded handshake is of no use to anybody, for the nonces differ; nor can a MAC of one side be
sent back to it, for each side begins its MACs with a word of its own. What follows on the
connection is neither encrypted nor signed: for that there is TLS.

The frames that follow are written by ``marshal``, and hold code objects: so both sides must run the
same minor version of Python, and the same aplex.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import sys
from functools import cache
from typing import Final, NamedTuple

from aplex._version import __version__

PROTOCOL: Final = 1
MAGIC: Final = b"aplex\r\n"
NONCE: Final = 32  # bytes
TOKEN: Final = 16  # bytes
MAC: Final = 32  # bytes
LONGEST: Final = 512
"""Bytes of the changing part of the worker's answer, and of a reason to refuse it."""

CONTROL: Final = 0
"""The channel of the agent; comes first."""
COROUTINES: Final = 1
PLAIN: Final = 2
LOGS: Final = 3
BULK: Final = 4
CHANNELS: Final = ("control", "coroutines", "plain functions", "logs", "big payloads")

_GREETING: Final = struct.Struct(f">{len(MAGIC)}sH{NONCE}s")
_ANSWER: Final = struct.Struct(f">{len(MAGIC)}sHH")
_CLAIM: Final = struct.Struct(f">BQ{TOKEN}s{NONCE}s")
_REFUSAL: Final = struct.Struct(">H")
GREETING_SIZE: Final = _GREETING.size
ANSWER_HEAD: Final = _ANSWER.size
YES: Final = b"Y"
NO: Final = b"N"


class RefusedError(ConnectionError):
    """One side does not want the other; the message is one line that says why."""


class UnwantedError(RefusedError):
    """The same of who was expected, and is not any more: nothing is wrong."""


class Claim(NamedTuple):
    """Which connection this is, as a worker says that knows the secret."""

    channel: int
    number: int
    token: bytes
    software: str


def new_nonce() -> bytes:
    """Return bytes that nobody can guess, and that never come again."""
    return os.urandom(NONCE)


@cache
def software() -> str:
    """Return what must be the same on both sides."""
    from importlib import metadata  # slow to import, and not wanted before somebody dials

    return ";".join(
        (
            f"aplex {__version__}",
            f"Python {sys.version_info[0]}.{sys.version_info[1]}",
            f"byte order {sys.byteorder}",
            f"cloudpickle {metadata.version('cloudpickle')}",
        )
    )


# -- the pool's side ----------------------------------------------------------------------


def greeting(nonce: bytes) -> bytes:
    """Return what a pool says first."""
    return _GREETING.pack(MAGIC, PROTOCOL, nonce)


def length_of_answer(data: bytes) -> int | None:
    """Return how long a worker's answer is; None if that cannot be known yet.

    Raises:
        RefusedError: It is no answer.
    """
    if not MAGIC.startswith(data[: len(MAGIC)]):
        raise RefusedError("this is no aplex worker")
    if len(data) < ANSWER_HEAD:
        return None
    _, protocol, length = _ANSWER.unpack_from(data)
    if protocol != PROTOCOL:
        raise RefusedError(
            f"the worker speaks version {protocol} of the protocol, the pool version {PROTOCOL}: "
            "install the same aplex on both sides"
        )
    if not _CLAIM.size <= length <= LONGEST:
        raise RefusedError("this is no aplex worker")
    return ANSWER_HEAD + int(length) + MAC


def check_answer(data: bytes, nonce: bytes, secret: bytes) -> Claim:
    """Return what a worker claims to be.

    Args:
        data: Its answer, as long as `length_of_answer` says.
        nonce: What it was greeted with.
        secret: Of the pool.

    Raises:
        RefusedError: It does not know the secret; or it runs other software.
    """
    said, mac = data[:-MAC], data[-MAC:]
    if not hmac.compare_digest(mac, _mac(secret, b"worker", nonce, said)):
        raise RefusedError("the secret is wrong")
    body = said[ANSWER_HEAD:]
    channel, number, token, _ = _CLAIM.unpack_from(body)
    claim = Claim(channel, number, token, body[_CLAIM.size :].decode(errors="replace"))
    if claim.software != software():
        raise RefusedError(_differences(claim.software))
    if channel >= len(CHANNELS):
        raise RefusedError(f"there is no channel {channel}")
    return claim


def consent(data: bytes, nonce: bytes, secret: bytes) -> bytes:
    """Return the yes to an answer."""
    return YES + _mac(secret, b"pool", nonce, data)


def refusal(reason: str) -> bytes:
    """Return the no to an answer."""
    data = reason.encode(errors="replace")[:LONGEST]
    return NO + _REFUSAL.pack(len(data)) + data


# -- the worker's side ----------------------------------------------------------------------


def nonce_of(data: bytes) -> bytes:
    """Return the nonce of a greeting.

    Raises:
        RefusedError: It is no greeting, or of another protocol.
    """
    magic, protocol, nonce = _GREETING.unpack(data)
    if magic != MAGIC:
        raise RefusedError("what listens there is no aplex pool")
    if protocol != PROTOCOL:
        raise RefusedError(
            f"the pool speaks version {protocol} of the protocol, this worker version {PROTOCOL}: "
            "install the same aplex on both sides"
        )
    return bytes(nonce)


def answer(nonce: bytes, secret: bytes, channel: int, number: int, token: bytes) -> bytes:
    """Return what a worker answers to a greeting."""
    body = _CLAIM.pack(channel, number, token, new_nonce()) + software().encode()
    said = _ANSWER.pack(MAGIC, PROTOCOL, len(body)) + body
    return said + _mac(secret, b"worker", nonce, said)


def length_of_verdict(data: bytes) -> int:
    """Return how long the pool's verdict is, as far as its first bytes tell."""
    if data[:1] == YES:
        return 1 + MAC
    head = 1 + _REFUSAL.size
    if len(data) < head:
        return head
    return head + min(int(_REFUSAL.unpack_from(data, 1)[0]), LONGEST)


def check_verdict(data: bytes, said: bytes, nonce: bytes, secret: bytes) -> None:
    """Make sure that the pool wants this worker, and knows the secret.

    Args:
        data: Its verdict.
        said: This worker's answer.
        nonce: Of the greeting.
        secret: Of the pool.

    Raises:
        RefusedError: It does not.
    """
    if data[:1] != YES:
        reason = data[1 + _REFUSAL.size :].decode(errors="replace")
        raise RefusedError("".join(each if each.isprintable() else "?" for each in reason))
    if not hmac.compare_digest(data[1:], _mac(secret, b"pool", nonce, said)):
        raise RefusedError("what listens there does not know the secret: it is not the pool")


def _mac(secret: bytes, who: bytes, nonce: bytes, said: bytes) -> bytes:
    return hmac.new(secret, b"aplex %s %s" % (who, nonce) + said, hashlib.sha256).digest()


def _differences(theirs: str) -> str:
    """Return in one line what software differs."""
    ours = software()
    pairs = zip(theirs.split(";"), ours.split(";"), strict=False)
    differ = [f"{one}, the pool {other}" for one, other in pairs if one != other]
    return f"the worker runs {'; '.join(differ) or theirs}: both sides need the same"
