"""Journals: which items of a long job are done, in a file of JSON lines, so that it can resume."""
