"""What ``pairwise`` is made of: features of a pool that meet, and the judge of what came of it."""
