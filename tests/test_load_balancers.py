"""Logic: the load balancers, on workers that are made up. No pool, no process."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import pytest

from aplex._balancers.base import chooser
from aplex.load_balancers import (
    Affinity,
    Average,
    LeastLag,
    LoadBalancer,
    PowerOfTwoChoices,
    Random,
    RoundRobin,
    Worker,
)


@dataclass(eq=False)
class FakeWorker:
    id: int
    workload: int = 0
    available: bool = True
    pid: int | None = None
    loop_lag: float = 0.0
    index: int = -1

    def __post_init__(self) -> None:
        if self.index < 0:
            self.index = self.id


def workers_with(*workloads: int) -> list[FakeWorker]:
    return [FakeWorker(i, workload) for i, workload in enumerate(workloads)]


def made(kind: type[LoadBalancer], workers: list[FakeWorker]) -> Any:
    return kind(workers, {worker: worker.workload for worker in workers}, 300)


BUILT_IN = [RoundRobin, Random, Average, LeastLag, PowerOfTwoChoices]


# -- the base -------------------------------------------------------------------------------


def test_the_base_cannot_be_used_itself() -> None:
    with pytest.raises(TypeError, match="abstract"):
        LoadBalancer([], {}, 300)  # type: ignore[abstract]


def test_a_balancer_sees_workers_workloads_and_the_limit() -> None:
    workers = workers_with(3, 4)
    balancer = made(RoundRobin, workers)
    assert list(balancer.workers) == workers
    assert balancer.workloads == {workers[0]: 3, workers[1]: 4}
    assert balancer.max_works_per_worker == 300


@pytest.mark.parametrize("name", ["workers", "workloads", "max_works_per_worker"])
def test_what_it_sees_cannot_be_replaced(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(made(RoundRobin, workers_with(0)), name, None)


def test_it_can_ask_which_workers_are_available() -> None:
    workers = workers_with(0, 0, 0)
    workers[1].available = False
    balancer = made(RoundRobin, workers)
    assert balancer.get_available_workers() == [workers[0], workers[2]]
    assert [balancer.is_available(worker) for worker in workers] == [True, False, True]


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_built_in_ones_pin_nothing(kind: type[LoadBalancer]) -> None:
    assert kind.keeps_choice is False


def test_a_new_way_to_choose_is_a_pin() -> None:
    class Mine(RoundRobin):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            return self.workers[0]

    assert Mine.keeps_choice is True


def test_a_new_way_to_choose_may_say_that_it_is_none() -> None:
    class Mine(LoadBalancer):
        keeps_choice = False

        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            return self.workers[0]

    assert Mine.keeps_choice is False


def test_a_subclass_that_chooses_as_its_parent_pins_as_its_parent() -> None:
    class Mine(RoundRobin):
        pass

    assert Mine.keeps_choice is False


# -- the built-in ones ----------------------------------------------------------------------


@pytest.mark.smoke
def test_round_robin_takes_the_workers_in_turn() -> None:
    workers = workers_with(0, 0, 0)
    balancer = made(RoundRobin, workers)
    assert [balancer.get_proper_worker().id for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_skips_those_without_room() -> None:
    workers = workers_with(0, 0, 0)
    workers[1].available = False
    balancer = made(RoundRobin, workers)
    assert [balancer.get_proper_worker().id for _ in range(4)] == [0, 2, 0, 2]


def test_round_robin_goes_on_after_the_one_it_took() -> None:
    workers = workers_with(0, 0, 0)
    balancer = made(RoundRobin, workers)
    workers[0].available = workers[1].available = False
    assert balancer.get_proper_worker().id == 2
    workers[0].available = workers[1].available = True
    assert [balancer.get_proper_worker().id for _ in range(3)] == [0, 1, 2]


def test_round_robin_finds_the_only_one_with_room_wherever_it_stands() -> None:
    workers = workers_with(0, 0, 0, 0)
    balancer = made(RoundRobin, workers)
    for only in (3, 3, 0, 2, 1, 1, 3):
        for worker in workers:
            worker.available = worker.id == only
        assert balancer.get_proper_worker().id == only


def test_round_robin_survives_that_workers_come_and_go() -> None:
    workers: list[Any] = list(workers_with(0, 0, 0))
    balancer = RoundRobin(workers, defaultdict(int), 300)
    for _ in range(3):
        balancer.get_proper_worker()
    del workers[1:]
    assert balancer.get_proper_worker() is workers[0]
    workers.append(FakeWorker(9))
    assert {balancer.get_proper_worker().id for _ in range(2)} == {0, 9}


@pytest.mark.parametrize("kind", BUILT_IN)
def test_without_any_room_there_is_no_choice(kind: type[LoadBalancer]) -> None:
    workers = workers_with(0, 0)
    for worker in workers:
        worker.available = False
    with pytest.raises((LookupError, ValueError)):
        made(kind, workers).get_proper_worker()


def test_random_takes_each_worker_with_room_and_no_other() -> None:
    workers = workers_with(0, 0, 0, 0)
    workers[2].available = False
    balancer = made(Random, workers)
    taken = Counter(balancer.get_proper_worker().id for _ in range(3000))
    assert set(taken) == {0, 1, 3}
    assert min(taken.values()) > 800  # 1000 expected: 8 standard deviations


def test_average_takes_the_worker_with_the_fewest_works() -> None:
    workers = workers_with(5, 2, 7)
    assert made(Average, workers).get_proper_worker() is workers[1]
    workers[1].available = False
    assert made(Average, workers).get_proper_worker() is workers[0]


def test_average_spreads_works_evenly() -> None:
    workers = workers_with(0, 3, 0)
    loads: dict[Worker, int] = {worker: worker.workload for worker in workers}
    balancer = Average(workers, loads, 300)
    for _ in range(9):
        loads[balancer.get_proper_worker()] += 1
    assert list(loads.values()) == [4, 4, 4]


def test_least_lag_takes_the_most_prompt_loop_then_the_fewest_works() -> None:
    workers = workers_with(1, 5, 2)
    workers[0].loop_lag = 0.2
    workers[1].loop_lag, workers[2].loop_lag = 0.001, 0.002  # as good as the same
    balancer = made(LeastLag, workers)
    assert balancer.get_proper_worker() is workers[2]
    workers[2].available = False
    assert balancer.get_proper_worker() is workers[1]
    workers[1].available = False
    assert balancer.get_proper_worker() is workers[0]


def test_two_choices_are_nearly_as_even_as_all() -> None:
    workers = workers_with(*[0] * 50)
    loads: dict[Worker, int] = dict.fromkeys(workers, 0)
    balancer = PowerOfTwoChoices(workers, loads, 10**6)
    for _ in range(5000):
        loads[balancer.get_proper_worker()] += 1
    assert max(loads.values()) - min(loads.values()) < 25  # of one random choice: some 50


def test_two_choices_find_the_only_ones_with_room() -> None:
    workers = workers_with(*[3] * 50)
    for worker in workers:
        worker.available = worker.id in (7, 20)
    workers[20].workload = 2
    balancer = made(PowerOfTwoChoices, workers)
    assert {balancer.get_proper_worker().id for _ in range(100)} == {20}


KEYS = [*range(500), *(f"key {n}" for n in range(500)), *((n, "x") for n in range(200))]


def homes(workers: list[FakeWorker]) -> dict[Any, int]:
    balancer = made(Affinity, workers)
    return {key: balancer.get_proper_worker(key).index for key in KEYS}


def test_a_key_has_a_home_and_keys_are_spread_evenly() -> None:
    workers = workers_with(*[0] * 4)
    found = homes(workers)
    assert found == homes(workers)
    counts = Counter(found.values())
    assert set(counts) == {0, 1, 2, 3}
    assert min(counts.values()) > 220  # 300 expected: more than 5 standard deviations


def test_a_key_stays_with_the_successor_of_its_worker() -> None:
    workers = workers_with(*[0] * 4)
    before = homes(workers)
    workers[2] = FakeWorker(9, index=2)
    assert homes(workers) == before


def test_a_resize_moves_one_key_in_n() -> None:
    workers = workers_with(*[0] * 5)
    four, five = homes(workers[:4]), homes(workers)
    moved = {key for key in KEYS if four[key] != five[key]}
    assert all(five[key] == 4 for key in moved), "only to the new one"
    assert 1 / 5 - 0.06 < len(moved) / len(KEYS) < 1 / 5 + 0.06
    without = homes([worker for worker in workers if worker.id != 1])
    assert all(without[key] == five[key] for key in KEYS if five[key] != 1)


def test_works_without_a_key_go_where_there_is_least_to_do() -> None:
    workers = workers_with(3, 1, 2)
    assert made(Affinity, workers).get_proper_worker() is workers[1]


def test_affinity_pins() -> None:
    assert Affinity.keeps_choice is True
    workers = workers_with(0, 0)
    balancer = made(Affinity, workers)
    home = balancer.get_proper_worker("key")
    home.available = False
    assert balancer.get_proper_worker("key") is home
    with pytest.raises(TypeError, match="unhashable"):
        balancer.get_proper_worker([])


# -- made by hand, as users test their own ----------------------------------------------------

HANDMADE = [
    *((RoundRobin, "b"), (Average, "d"), (Random, "bd"), (LeastLag, "d")),
    *((PowerOfTwoChoices, "d"), (Affinity, "d")),
]
LOADS: Any = {"a": 7, "b": 3, "c": 7, "d": 2}


@pytest.mark.parametrize(("kind", "proper"), HANDMADE)
def test_any_workers_will_do_with_a_dict_of_their_workloads(
    kind: type[LoadBalancer], proper: str
) -> None:
    balancer = kind(list(LOADS), LOADS, max_works_per_worker=7)
    assert balancer.get_proper_worker(None) in set(proper)  # type: ignore[comparison-overlap]
    assert balancer.get_available_workers() == ["b", "d"]
    assert [balancer.is_available(worker) for worker in LOADS] == [False, True, False, True]


def test_what_it_was_made_of_is_read_only_and_alive() -> None:
    workers, loads = list(LOADS), dict(LOADS)
    balancer: Any = RoundRobin(workers, loads, 7)
    with pytest.raises(TypeError, match="not support item assignment"):
        balancer.workers[0] = "x"
    with pytest.raises(TypeError, match="not support item assignment"):
        balancer.workloads["a"] = 0
    workers.append("e")
    loads["e"] = 1
    assert list(balancer.workers) == workers
    assert balancer.workers[1:3] == ["b", "c"]
    assert balancer.workloads == loads
    assert balancer.get_available_workers() == ["b", "d", "e"]


def test_ones_own_is_tested_by_hand() -> None:
    class Mine(LoadBalancer):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            return max(self.get_available_workers(), key=self.workloads.__getitem__)

    assert Mine(list(LOADS), LOADS, 7).get_proper_worker() == "b"  # type: ignore[comparison-overlap]


# -- both signatures ------------------------------------------------------------------------


class WithMeta(LoadBalancer):
    def get_proper_worker(self, load_balancing_meta: Any = None) -> Any:
        return "meta", load_balancing_meta


class WithRequiredMeta(LoadBalancer):
    def get_proper_worker(self, load_balancing_meta: Any) -> Any:
        return "meta", load_balancing_meta


class WithAnyArguments(LoadBalancer):
    def get_proper_worker(self, *args: Any, **kwargs: Any) -> Any:
        return "meta", *args


class AsIn2019(LoadBalancer):
    def get_proper_worker(self) -> Any:  # type: ignore[override]
        return "no meta"


@pytest.mark.parametrize("kind", [WithMeta, WithRequiredMeta, WithAnyArguments])
def test_a_balancer_gets_the_meta(kind: type[LoadBalancer]) -> None:
    assert chooser(made(kind, []))({"some": "meta"}) == ("meta", {"some": "meta"})


def test_the_signature_of_2019_still_works() -> None:
    assert chooser(made(AsIn2019, []))({"some": "meta"}) == "no meta"


def test_an_error_inside_the_balancer_is_not_taken_for_the_other_signature() -> None:
    class Broken(LoadBalancer):
        def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
            raise TypeError("from inside")

    with pytest.raises(TypeError, match="from inside"):
        chooser(made(Broken, []))(None)
