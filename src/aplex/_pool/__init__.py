"""Every decision about works and workers. Logic only: no input or output, clock, thread or lock."""
