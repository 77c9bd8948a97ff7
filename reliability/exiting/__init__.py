"""Programs that end, or are killed, at any moment."""
