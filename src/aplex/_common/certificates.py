"""Certificates: by which a pool and its workers speak TLS."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class TLS:
    """By which certificates a pool and its workers speak TLS, 1.2 at least (RFC 5246, RFC 8446).

    Both sides show a certificate, and check that of the other one. Names in certificates are not
    compared with addresses: who knows the pool's secret, and has the key of its certificate, is
    the pool.

    Attributes:
        certificate: The pool's own, a file in PEM (RFC 7468); certificates between it and the
            authority follow in the same file.
        key: Its private key, a file in PEM, without a password.
        ca: Certificates of the authorities that workers' certificates may be vouched for by.
    """

    certificate: str | os.PathLike[str]
    key: str | os.PathLike[str]
    ca: str | os.PathLike[str]
