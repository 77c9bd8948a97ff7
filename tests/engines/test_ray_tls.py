"""Ray whose own connections are encrypted: with a head of its own, which the others cannot have."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from aplex import RayAsyncPoolExecutor
from tests.support import works
from tests.support.certificates import Authority
from tests.support.engines import needs_ray
from tests.support.leaks import nothing_left_alive
from tests.support.ray_head import Head

pytestmark = [needs_ray, pytest.mark.timeout(150)]


def own_address() -> str:
    """The one that Ray takes for that of this machine, and wants to find in certificates."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 53))  # of UDP: says nothing to nobody
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_where_ray_speaks_tls_the_works_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = Authority(tmp_path, "authority").tls("node", "127.0.0.1", own_address())
    files = {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": os.fspath(tls.certificate),
        "RAY_TLS_SERVER_KEY": os.fspath(tls.key),
        "RAY_TLS_CA_CERT": os.fspath(tls.ca),
    }
    head = Head(more=files)
    try:
        for name, value in head.variables.items():
            monkeypatch.setenv(name, value)
        with nothing_left_alive(), RayAsyncPoolExecutor("auto", 1) as pool:
            assert pool.submit(works.add, 2, 2).result(60) == 4
            assert list(pool.map(works.same, range(100))) == list(range(100))
            door = pool._gateway._backend._door  # type: ignore[attr-defined]
            assert door._tunnels is not None
    finally:
        head.stop()
