"""``python -m emoji_gpt2 {fit,validate,test,predict}``."""

from emoji_gpt2.training.cli import main

if __name__ == "__main__":
    main()
