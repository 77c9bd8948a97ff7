"""Programs that try to break pools: the long forms of what `tests/` does in short."""
