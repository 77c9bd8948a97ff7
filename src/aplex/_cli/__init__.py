"""The commands of the shell, `aplex COMMAND`: one module each, imported when it is run."""
