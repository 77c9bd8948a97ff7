"""Workers that dial in."""
