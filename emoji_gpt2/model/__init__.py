"""The network and what it learns."""
