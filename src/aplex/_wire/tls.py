"""What TLS both sides speak: at least 1.2, and each shows a certificate that the other one checks.

Names in certificates are not compared with addresses: a worker dials what it was told to, and the
handshake inside is bound to the certificate (`handshake.bound`), so who stands in between has to
know the secret as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

from aplex._wire.credentials import TEXT, Credentials

_CERTIFICATE: Final = re.compile(
    "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


def context_of(credentials: Credentials, *, is_pool: bool) -> ssl.SSLContext:
    """Return how one side speaks TLS.

    Args:
        credentials: Of that side.
        is_pool: Whether it is the one that is dialled.

    Raises:
        OSError: A file cannot be read, or it is no certificate or key; or the key is another one's
            (``ssl.SSLError`` is an ``OSError``).
        ValueError: The key needs a password.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_pool else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # see the module
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if is_pool:
        context.num_tickets = 0  # nobody comes back
    try:
        with _file(credentials.certificate) as certificate, _file(credentials.key) as key:
            context.load_cert_chain(certificate, key, _no_password)
    except OSError as error:
        raise _named(error, "certificate", credentials.certificate, credentials.key) from None
    try:
        with _file(credentials.ca) as ca:
            context.load_verify_locations(ca)
    except OSError as error:
        raise _named(error, "ca", credentials.ca) from None
    return context


def certificate_of(credentials: Credentials) -> bytes:
    """Return the certificate that the other side gets to see, as DER.

    Raises:
        OSError: It cannot be read.
        ValueError: There is none.
    """
    text = credentials.certificate
    if TEXT not in text:
        text = Path(text).read_text(encoding="utf-8", errors="replace")
    found = _CERTIFICATE.search(text)
    if found is None:
        raise ValueError("there is no certificate in that of tls")
    return ssl.PEM_cert_to_DER_cert(found[0])


def told(error: ssl.SSLError) -> str:
    """Return in one line why the two sides did not come together."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if " alert " in reason:
        return f"it does not accept our certificate: {reason.partition(' alert ')[2]}"
    if reason in ("wrong version number", "record layer failure", "http request"):
        return "it does not speak TLS"
    if reason == "peer did not return a certificate":
        return "it has shown no certificate"
    return f"TLS failed: {reason}"


def _no_password() -> str:
    raise ValueError("the key of tls needs a password: give one that is not encrypted")


def _named(error: OSError, *where: str) -> OSError:
    """Return an error that says what cannot be used, and shows no text."""
    shown = ", ".join(each for each in where if TEXT not in each)
    reason = getattr(error, "reason", None)
    said = reason.replace("_", " ").lower() if isinstance(reason, str) else error.strerror
    return type(error)(error.errno, f"tls cannot use {shown}: {said or error}")


@contextlib.contextmanager
def _file(given: str) -> Generator[str]:
    """Have a path to what is a path, or text: ``ssl`` loads files only."""
    if TEXT not in given:
        yield given
        return
    if sys.platform == "linux":
        fd = os.memfd_create("aplex-tls", os.MFD_CLOEXEC)
        path = f"/proc/self/fd/{fd}"
    else:
        import tempfile

        fd, path = tempfile.mkstemp()
    try:
        with open(fd, "w", encoding="utf-8", closefd=False) as file:
            file.write(given)
        yield path
    finally:
        os.close(fd)
        if sys.platform != "linux":
            os.unlink(path)  # noqa: PTH108
