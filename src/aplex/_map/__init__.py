"""`map`: from iterables to works, and from works to results."""
