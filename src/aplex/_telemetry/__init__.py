"""What is told to monitoring systems: metrics of pools, and spans of their works."""
