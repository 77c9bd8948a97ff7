"""Words that every room speaks. It imports nothing of ours."""
