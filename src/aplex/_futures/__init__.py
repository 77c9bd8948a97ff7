"""The two kinds of futures, one to a file; `aplex.futures` shows them."""
