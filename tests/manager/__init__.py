"""Collaboration: the manager between a pool's decisions and workers on paper."""
