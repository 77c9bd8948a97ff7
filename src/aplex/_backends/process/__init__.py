"""Workers as processes, on the other end of pipes."""
