"""The tests: one file per module of the package, in pytest."""
