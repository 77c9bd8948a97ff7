"""The contract of the executors, run against every back end."""
