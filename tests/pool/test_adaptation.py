"""Unit: the bound that follows what a server bears."""

from __future__ import annotations

import pytest

from aplex._pool.adaptation import Adaptation
from aplex.limits import AdaptiveLimit


class Server:
    """Bears so many works at once, in rounds of as many as the bound allows."""

    def __init__(self, borne: int, bounds: AdaptiveLimit | None = None) -> None:
        self.borne = borne
        self.bound = Adaptation(bounds or AdaptiveLimit())
        self.done = self.sent = 0

    def round(self) -> None:
        """Send as many as may be sent; the first to come are borne."""
        sent, epoch = self.bound.limit, self.bound.epoch
        for number in range(sent):
            if number < self.borne:
                self.bound.went_well(epoch, bound_matters=True)
            else:
                self.bound.was_refused(epoch)
        self.sent += sent
        self.done += min(sent, self.borne)

    def rounds(self, number: int) -> Server:
        self.done = self.sent = 0
        for _ in range(number):
            self.round()
        return self


@pytest.mark.smoke
@pytest.mark.parametrize("borne", [1, 2, 5, 20, 100, 400])
def test_it_finds_what_is_borne_and_stays_there(borne: int) -> None:
    server = Server(borne).rounds(30).rounds(300)
    assert server.done >= 0.95 * 300 * borne
    assert server.sent - server.done <= 0.03 * server.sent


@pytest.mark.parametrize(("before", "after"), [(20, 60), (60, 20), (40, 8), (8, 40), (5, 500)])
def test_it_follows_a_change(before: int, after: int) -> None:
    server = Server(before).rounds(200)
    server.borne = after
    server.rounds(100).rounds(100)
    assert server.done >= 0.9 * 100 * after
    assert server.sent - server.done <= 0.05 * server.sent


def test_it_does_not_grow_while_nothing_waits_for_it() -> None:
    bound = Adaptation(AdaptiveLimit(start=4))
    for _ in range(1000):
        bound.went_well(0, bound_matters=False)
    assert bound.limit == 4


def test_it_stays_within_its_bounds() -> None:
    high = Server(10**6, AdaptiveLimit(least=2, most=30)).rounds(50)
    assert high.bound.limit == 30
    low = Server(0, AdaptiveLimit(least=2, most=30)).rounds(50)
    assert low.bound.limit == 2


def test_a_burst_of_refusals_counts_once() -> None:
    bound = Adaptation(AdaptiveLimit(start=100))
    for _ in range(200):
        bound.went_well(0, bound_matters=False)
    for _ in range(50):
        bound.was_refused(0)
    assert bound.limit == 80
    assert bound.refused == 50


def test_what_went_well_before_the_fall_says_nothing() -> None:
    bound = Adaptation(AdaptiveLimit(start=100))
    bound.was_refused(0)
    fallen = bound.limit
    for _ in range(1000):
        bound.went_well(0, bound_matters=True)
    assert bound.limit == fallen


@pytest.mark.parametrize(
    "wrong", [{"least": 0}, {"start": 5, "most": 4}, {"least": 9}, {"most": 0}]
)
def test_wrong_bounds_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="least"):
        AdaptiveLimit(**{"most": 10, **wrong} if "most" not in wrong else wrong)


def test_bounds_are_whole_numbers() -> None:
    with pytest.raises(TypeError, match="start must be an int"):
        AdaptiveLimit(start=1.5)  # type: ignore[arg-type]
