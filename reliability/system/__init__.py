"""What the system shows: processes, memory, and what they own."""
