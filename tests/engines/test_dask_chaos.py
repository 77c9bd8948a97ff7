"""Works on a Dask cluster whose processes are killed at random: none is lost, or done twice."""

from __future__ import annotations

from tests.support.dask_cluster import needs
from tests.support.reliability import run_short


def test_the_short_form() -> None:
    needs("distributed")
    run_short("dask_chaos")
