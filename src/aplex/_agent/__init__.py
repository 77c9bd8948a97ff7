"""The other side of a remote worker: dials the pool, starts it, certifies its end."""
