"""What runs on the side of Ray: the envoy that holds the connection, and the actor of a worker."""
