"""Limits that find themselves: how many works of a key may run at once."""

from aplex._common.adaptive_limit import AdaptiveLimit

__all__ = ["AdaptiveLimit"]
