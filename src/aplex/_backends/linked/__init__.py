"""What is the same for all workers behind channels, wherever they are: sending, reading, ends."""
