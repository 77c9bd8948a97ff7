"""The security of a pool's connections: how it speaks TLS, and what its workers need for that."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from aplex._wire.credentials import TEXT, Credentials, of_ray

if TYPE_CHECKING:
    from ssl import SSLContext


class Security(NamedTuple):
    """Of one pool.

    Attributes:
        context: How the pool speaks TLS.
        certificate: That it shows, as DER.
        credentials: For workers that are not told others where they are.
    """

    context: SSLContext
    certificate: bytes
    credentials: Credentials


def security_of(given: Iterable[str]) -> Security:
    """Read what the credentials of a pool name.

    Args:
        given: The fields of a `Credentials`.

    Raises:
        OSError: A file cannot be read, or it is not what it should be.
        ValueError: The key needs a password, or there is no certificate.
    """
    from aplex._wire import tls

    found = (each if TEXT in each else os.path.abspath(each) for each in given)  # noqa: PTH100
    credentials = Credentials(*found)
    context = tls.context_of(credentials, is_pool=True)
    return Security(context, tls.certificate_of(credentials), credentials)


def security_of_ray(environment: Mapping[str, str]) -> Security | None:
    """Return that of a pool in a program that would speak TLS with Ray, if it would.

    Raises:
        OSError: As above.
        ValueError: As above; or a variable is missing.
    """
    credentials = of_ray(environment)
    return None if credentials is None else security_of(credentials)


def credentials_of_dask(security: Any, role: str) -> Credentials | None:
    """Return those of a ``distributed.security.Security``, if it has all of them.

    Args:
        security: Which one.
        role: ``client`` or ``worker``.
    """
    found: dict[str, str | None] = security.get_tls_config_for_role(role)
    certificate, key, ca = found.get("cert"), found.get("key"), found.get("ca_file")
    if not certificate or not ca:
        return None
    return Credentials(certificate, key or certificate, ca)  # both may be in one file
