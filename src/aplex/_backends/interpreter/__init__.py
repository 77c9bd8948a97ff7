"""Workers that are subinterpreters of this process (CPython 3.14)."""
