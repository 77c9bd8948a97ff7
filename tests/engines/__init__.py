"""Engines that need a cluster: it is started once for all tests, on this machine."""
