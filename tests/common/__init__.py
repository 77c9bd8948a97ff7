"""Logic: the ground that every room stands on."""
