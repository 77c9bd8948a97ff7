"""From a user's call to a work: its lane, its options, its future, its place."""
