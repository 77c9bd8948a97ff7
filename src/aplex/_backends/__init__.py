"""Where workers live: starts them, carries messages, notices deaths. Decides nothing."""
