"""Measurements: scripts that a person runs, never tests."""
