"""The command line and the report that the programs share."""
