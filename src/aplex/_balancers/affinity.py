"""A load balancer that keeps what belongs together in one worker."""

from __future__ import annotations

from typing import Any, Final

from aplex._balancers.base import PUBLIC, LoadBalancer, Worker

_MASK: Final = 2**64 - 1


class Affinity(LoadBalancer):
    """Gives works with the same ``load_balancing_meta`` to the same worker.

    So each worker needs to remember only what belongs to its own keys: a cache, a session, a
    shard. If the worker is full, or starts, the work waits for it. Works without a meta go to the
    worker with the fewest works.

    Keys are spread by rendezvous hashing over the places of workers (their ``index``): a worker
    that is replaced hands its keys to its successor; a pool that grows from n - 1 to n workers
    moves one key in n, and one that shrinks moves only those of the workers that leave. After
    Thaler and Ravishankar, Using name-based mappings to increase hit rates (IEEE/ACM Transactions
    on Networking, 1998). Where a key goes is another one in each run of the program.

    The meta must be hashable, or the work fails with ``LoadBalancerError``.
    """

    __module__ = PUBLIC
    keeps_choice = True

    def get_proper_worker(self, load_balancing_meta: Any = None) -> Worker:
        """Return the worker of the key."""
        if load_balancing_meta is None:
            return min(self.get_available_workers(), key=self._load)
        key = hash(load_balancing_meta)
        if not self._are_of_pool:
            places = enumerate(self._workers)
            by_place = {_score(key, getattr(each, "index", n)): each for n, each in places}
            return by_place[max(by_place)]
        return max(self._workers, key=lambda worker: _score(key, worker.index))


def _score(key: int, index: int) -> int:
    """Return a number that looks random, always the same for the same two.

    The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): the hash of an int is the int.
    """
    mixed = (_scrambled(key & _MASK) ^ (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    return _scrambled(mixed)


def _scrambled(number: int) -> int:
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & _MASK
    return number ^ number >> 31
