"""Text in, emoji out: ``python -m emoji_gpt2.generate "I love pizza" --model DIR``."""

from emoji_gpt2.generation.command import main

if __name__ == "__main__":
    main()
