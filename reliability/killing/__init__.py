"""What `reliability.kills` is made of."""
