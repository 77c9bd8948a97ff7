"""Logic: what crosses between two processes. Both ends are in one process here."""
