"""Back ends: where workers live. One file each behind the contract in ``base``."""
