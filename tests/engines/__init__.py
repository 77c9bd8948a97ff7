"""Engines on clusters: real ones, which the tests start on loopback."""
