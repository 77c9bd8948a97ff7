"""Joins the pool to a back end: the lock, the steps, the end. The only room that touches both."""
