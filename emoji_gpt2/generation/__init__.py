"""Text in, emoji out."""
