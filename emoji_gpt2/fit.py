"""Train from the command line: ``python -m emoji_gpt2.fit --config configs/quickstart.yaml``."""

from emoji_gpt2.training.cli import main

if __name__ == "__main__":
    main("fit")
