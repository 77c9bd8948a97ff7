"""Logic: ``map``, over a made-up ``submit``. No pool, no process."""
