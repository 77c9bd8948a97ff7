"""Metrics of Prometheus: a real scrape of a pool, over HTTP."""

from __future__ import annotations

import gc
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic

from aplex import telemetry
from aplex._common.histograms import BUCKETS, bucket, octaves
from tests.support import works
from tests.support.callers import DEADLINE, make_pool
from tests.support.leaks import nothing_left_alive

OPEN = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    with nothing_left_alive():
        yield


def scrape(registry: CollectorRegistry, accept: str = OPEN) -> Samples:
    """Ask by HTTP, and read the answer as Prometheus does."""
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    families = list((open_metrics if accept == OPEN else classic)(text))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def serving(pool: Any) -> int:
    return sum(worker.state == "serving" for worker in pool.stats().workers)


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.mark.parametrize("accept", [OPEN, "text/plain"])
@pytest.mark.parametrize("engine", ["thread", "template"])
def test_a_scrape_tells_what_stats_tell(engine: str, accept: str) -> None:
    registry = CollectorRegistry()
    with make_pool(engine, pool_size=2) as pool, make_pool("thread") as other:
        collector = telemetry.prometheus(pool)
        registry.register(collector)
        collector.add(other)
        for _ in range(5):
            pool.submit(works.span, 0.002).result(DEADLINE)
        pool.submit(works.fail, ValueError()).exception(DEADLINE)
        before = serving(pool)  # the second one may just begin
        samples = scrape(registry, accept)
        stats = pool.stats()
        name, another = (each._gateway.manager.name for each in (pool, other))
        assert at(samples, "aplex_works_total", pool=name, outcome="done") == 5
        assert at(samples, "aplex_works_total", pool=name, outcome="failed") == 1
        assert at(samples, "aplex_works_total", pool=another, outcome="done") == 0
        assert at(samples, "aplex_works_pending", pool=name, state="waiting") == 0
        assert before <= at(samples, "aplex_workers", pool=name, state="serving") <= serving(pool)
        assert at(samples, "aplex_worker_restarts_total", pool=name) == 0
        assert at(samples, "aplex_work_retries_total", pool=name) == 0
        assert at(samples, "aplex_loop_lag_seconds", pool=name, slot="0") >= 0
        assert at(samples, "aplex_work_run_seconds_count", pool=name) == stats.running_time.count
        total = at(samples, "aplex_work_run_seconds_sum", pool=name)
        assert total == pytest.approx(stats.running_time.mean * stats.running_time.count)
        bounds = sorted(
            (float(dict(labels)["le"]), value)
            for (key, labels), value in samples.items()
            if key == "aplex_work_run_seconds_bucket" and ("pool", name) in labels
        )
        assert [value for _, value in bounds] == sorted(value for _, value in bounds)
        assert dict(bounds)[0.001048576] <= 1  # five took 2 ms
        assert dict(bounds)[float("inf")] == 6


def test_functions_are_told_apart_only_where_they_are_allowed() -> None:
    registry = CollectorRegistry()
    with make_pool("thread") as pool:
        registry.register(telemetry.prometheus(pool, functions=["tests.support.works.add", "no"]))
        for work in (works.add, works.add, works.span):
            pool.submit(work, 0.001).result(DEADLINE)
        samples = scrape(registry)
        name = pool._gateway.manager.name
    count = "aplex_work_run_seconds_count"
    assert at(samples, count, pool=name, function="tests.support.works.add") == 2
    assert at(samples, count, pool=name, function="(others)") == 1
    assert sum(key[0] == count for key in samples) == 2


def test_a_pool_is_not_kept_alive_and_a_second_collector_is_refused() -> None:
    registry = CollectorRegistry()
    pool = make_pool("thread")
    registry.register(telemetry.prometheus(pool))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(telemetry.prometheus(pool))
    assert any(key[0] == "aplex_works_total" for key in scrape(registry))
    del pool
    gc.collect()
    assert scrape(registry) == {}


def test_buckets_join_to_powers_of_two() -> None:
    counts = [0] * BUCKETS
    times = [0, 4095, 4096, 8191, 8192, 10**6, 10**9, 1 << 62]
    for time in times:
        counts[bucket(time)] += 1
    bounds, count, total = octaves(b"".join(each.to_bytes(8, "little") for each in counts))
    assert count == len(times)
    assert total > 1
    for bound, below in bounds:
        assert below == sum(time / 1e9 < bound for time in times)
    assert [bound for bound, _ in bounds] == [2**n / 1e9 for n in range(12, 12 + len(bounds))]
    assert bounds[-1][1] == len(times) - 1
