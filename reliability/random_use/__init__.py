"""Random use of real pools, compared with what a simple reference allows."""
