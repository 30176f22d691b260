"""What an emoji is: spelling, names, keywords, languages; without torch."""
