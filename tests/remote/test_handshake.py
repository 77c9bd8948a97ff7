"""The handshake: who is let in, and what a stranger is told. Bytes only."""

from __future__ import annotations

import pytest

from aplex._wire import handshake
from aplex._wire.handshake import Claim, RefusedError

SECRET = b"a secret that nobody knows"
TOKEN = bytes(range(handshake.TOKEN))


def answered(secret: bytes = SECRET, channel: int = handshake.PLAIN) -> tuple[bytes, bytes]:
    """A nonce, and what a worker answers to it."""
    nonce = handshake.new_nonce()
    return nonce, handshake.answer(nonce, secret, channel, 7, TOKEN)


def test_both_sides_come_to_know_each_other() -> None:
    nonce = handshake.new_nonce()
    assert handshake.nonce_of(handshake.greeting(nonce)) == nonce
    said = handshake.answer(nonce, SECRET, handshake.PLAIN, 7, TOKEN)
    assert handshake.length_of_answer(said) == len(said)
    claim = handshake.check_answer(said, nonce, SECRET)
    assert claim == Claim(handshake.PLAIN, 7, TOKEN, handshake.software())
    verdict = handshake.consent(said, nonce, SECRET)
    assert handshake.length_of_verdict(verdict) == len(verdict)
    handshake.check_verdict(verdict, said, nonce, SECRET)


def test_who_does_not_know_the_secret_is_refused_by_either_side() -> None:
    nonce, said = answered(b"another secret of that length")
    with pytest.raises(RefusedError, match="the secret is wrong"):
        handshake.check_answer(said, nonce, SECRET)
    nonce, said = answered()
    with pytest.raises(RefusedError, match="it is not the pool"):
        handshake.check_verdict(handshake.consent(said, nonce, b"no"), said, nonce, SECRET)


def test_what_was_recorded_is_of_no_use() -> None:
    """Not to the pool that greets by another nonce, and not sent back to the worker."""
    _, said = answered()
    with pytest.raises(RefusedError, match="the secret is wrong"):
        handshake.check_answer(said, handshake.new_nonce(), SECRET)
    nonce, said = answered()
    reflected = handshake.YES + said[-handshake.MAC :]
    with pytest.raises(RefusedError, match="it is not the pool"):
        handshake.check_verdict(reflected, said, nonce, SECRET)


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_no_bit_can_be_changed(place: int) -> None:
    nonce, said = answered()
    place = min(place, len(said) - 1)
    changed = said[:place] + bytes([said[place] ^ 1]) + said[place + 1 :]
    with pytest.raises(RefusedError):
        if handshake.length_of_answer(changed) == len(changed):
            handshake.check_answer(changed, nonce, SECRET)
        else:
            raise RefusedError


@pytest.mark.parametrize("data", [b"\0" * 64, b"GET / HTTP/1.1\r\n", b"b", b"\x16\x03\x01\x02\0"])
def test_what_is_no_worker_is_known_by_its_first_bytes(data: bytes) -> None:
    with pytest.raises(RefusedError, match="no aplex worker"):
        handshake.length_of_answer(data)


def test_an_answer_has_a_greatest_length() -> None:
    for length in (0, handshake.LONGEST + 1, 2**16 - 1):
        head = handshake.MAGIC + handshake.PROTOCOL.to_bytes(2) + length.to_bytes(2)
        with pytest.raises(RefusedError, match="no aplex worker"):
            handshake.length_of_answer(head)


def test_another_version_is_refused_in_one_line_that_says_what_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = handshake.software()
    with monkeypatch.context() as patch:
        patch.setattr(handshake, "software", lambda: ours.replace("Python 3.", "Python 4."))
        nonce, said = answered()
    with pytest.raises(RefusedError, match=r"runs Python 4\.\d+, the pool Python 3\.\d+: both"):
        handshake.check_answer(said, nonce, SECRET)
    with monkeypatch.context() as patch:
        patch.setattr(handshake, "PROTOCOL", 2)
        nonce, said = answered()
        greeting = handshake.greeting(nonce)
    with pytest.raises(RefusedError, match="version 2 of the protocol, the pool version 1"):
        handshake.length_of_answer(said)
    with pytest.raises(RefusedError, match="version 2 of the protocol, this worker version 1"):
        handshake.nonce_of(greeting)


def test_a_refusal_is_one_printable_line() -> None:
    verdict = handshake.refusal("no\x1b[31m\nsecond line" + "x" * 1000)
    assert handshake.length_of_verdict(verdict) == len(verdict)
    with pytest.raises(RefusedError) as caught:
        handshake.check_verdict(verdict, b"", b"", SECRET)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= handshake.LONGEST
