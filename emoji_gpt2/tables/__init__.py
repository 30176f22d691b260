"""Read any table or list of texts and emoji, and say what was read."""
