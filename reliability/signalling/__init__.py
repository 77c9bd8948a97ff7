"""Handlers and finalizers that break into whatever a thread does with a pool."""
