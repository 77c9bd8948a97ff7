"""Logic: what runs in a worker, without a worker."""
