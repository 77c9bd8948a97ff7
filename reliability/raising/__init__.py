"""Exceptions of other libraries, raised as users meet them."""
