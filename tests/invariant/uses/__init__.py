"""Ordinary Lightning uses of the package, each run and judged by what it did."""
