"""What helps to test programs that use aplex. No executor needs it."""
