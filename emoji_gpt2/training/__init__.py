"""Start and end a run: the command line, checkpoints, signals, what is written."""
