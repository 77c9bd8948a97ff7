"""Whether the tests of an engine can run here; with ``APLEX_ENGINES=required`` they have to."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def needs(module: str, extra: str) -> pytest.MarkDecorator:
    """Decorate tests that need a cluster of that package.

    Under xdist each process would start one, so they are left to a run of their own.
    """
    required = os.environ.get("APLEX_ENGINES") == "required"
    if find_spec(module) is None and not required:
        return pytest.mark.skip(reason=f"{module} is not installed: pip install 'aplex[{extra}]'")
    if "PYTEST_XDIST_WORKER" in os.environ and not required:
        return pytest.mark.skip(reason="one process starts a cluster: pytest tests/engines")
    return pytest.mark.skipif(condition=False, reason="it is there")


needs_ray = needs("ray", "ray")
