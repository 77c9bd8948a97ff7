"""Exceptions of other libraries, as users meet them.

Everything is imported when it is called: what is not installed is told, and skipped.
"""

from __future__ import annotations

from typing import Any

from reliability.raising.case import case


@case(
    "tenacity",
    *("error.last_attempt.exception()", "error.last_attempt.attempt_number"),
    *("error.last_attempt.failed", "type(error.last_attempt)"),
)
def tenacity_retry(_url: str) -> None:
    import tenacity

    def fail() -> None:
        raise LookupError("nothing there", 3)

    tenacity.Retrying(stop=tenacity.stop_after_attempt(2))(fail)


@case("click", "error.exit_code", "error.message", "error.param.name", "error.format_message()")
def click_parameter(_url: str) -> None:
    _command().main(["--count", "many"], standalone_mode=False)


@case("click", "error.option_name", "error.possibilities", "error.ctx.command.name")
def click_option(_url: str) -> None:
    _command().main(["--coun", "1"], standalone_mode=False)


def _command() -> Any:
    import click

    return click.Command("tool", params=[click.Option(["--count"], type=int)])


@case("cryptography")
def cryptography_token(_url: str) -> None:
    from cryptography.fernet import Fernet

    Fernet(Fernet.generate_key()).decrypt(b"nonsense")


@case("cryptography")
def cryptography_signature(_url: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    Ed25519PrivateKey.generate().public_key().verify(b"0" * 64, b"data")


@case("cryptography", "error.oid")
def cryptography_extension(_url: str) -> None:
    from cryptography import x509

    extensions = x509.Extensions([])
    extensions.get_extension_for_oid(x509.ObjectIdentifier("2.5.29.19"))


@case("cryptography", "error._reason")
def cryptography_unsupported(_url: str) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm, _Reasons

    raise UnsupportedAlgorithm("no such cipher", _Reasons.UNSUPPORTED_CIPHER)
