"""From a table of texts and emoji to batches."""
