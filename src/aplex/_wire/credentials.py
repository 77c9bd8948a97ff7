"""Credentials: by which certificate one side of a connection is known, and whom it believes.

They are files, or the text of these (PEM, RFC 7468), as some clusters have them in memory only.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final, NamedTuple

TEXT: Final = "-----BEGIN"
"""What is in a text, and in no path."""
VARIABLES: Final = ("APLEX_TLS_CERTIFICATE", "APLEX_TLS_KEY", "APLEX_TLS_CA")
"""Environment variables that have them, for a worker."""


class Credentials(NamedTuple):
    """Of one side. Each is a path, or text.

    Attributes:
        certificate: Its own, with those between it and the authority, if there are such.
        key: Its private key.
        ca: Certificates of the authorities that the other side may be vouched for by.
    """

    certificate: str
    key: str
    ca: str

    def __repr__(self) -> str:
        """Show nothing: the key may be there as text."""
        return "<credentials>"

    @property
    def environment(self) -> dict[str, str]:
        """What a worker's environment is to have."""
        return dict(zip(VARIABLES, self, strict=True))


def taken_from(environment: MutableMapping[str, str]) -> list[str | None]:
    """Take them out of an environment; return them in the order of the fields, if they are there.

    Args:
        environment: Whatever works start has it, too: so they do not stay there.
    """
    return [environment.pop(name, None) for name in VARIABLES]


def of_ray(environment: Mapping[str, str]) -> Credentials | None:
    """Return those of a process of Ray: https://docs.ray.io/en/latest/ray-core/configure.html.

    Raises:
        ValueError: Ray's connections are encrypted, and a variable is missing.
    """
    if environment.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    names = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")
    found = [environment.get(name) for name in names]
    missing = [name for name, value in zip(names, found, strict=True) if not value]
    if missing:
        raise ValueError(f"RAY_USE_TLS is set, but {', '.join(missing)} is not")
    return Credentials(*map(str, found))
