"""Logic: decisions about works and workers. No thread, no process, no clock."""
