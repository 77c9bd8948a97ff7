"""What many pools and many works leave behind."""
