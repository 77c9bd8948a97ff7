"""`aplex map`: runs a Python function on each item of an input, from a shell."""
