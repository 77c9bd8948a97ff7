"""The scoreboard: the same faults for every library, each in a program of its own."""
