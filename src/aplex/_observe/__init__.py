"""What was recorded of a pool: the tape, what is played back from it, and what is made of that."""
