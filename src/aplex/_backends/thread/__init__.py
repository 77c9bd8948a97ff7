"""The back end of workers that are threads."""
