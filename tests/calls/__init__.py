"""Logic: from a user's call to a work: options, and how executors look."""
