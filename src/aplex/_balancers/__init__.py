"""The load balancers, which `aplex.load_balancers` shows: which worker gets the next work."""
