"""What runs in a worker, wherever it was started. It knows nothing of the parent."""
