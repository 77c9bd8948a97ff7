"""Workers that dial in over TCP, from wherever a launcher has started them."""
