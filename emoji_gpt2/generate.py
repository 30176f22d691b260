"""Text in, emoji out: ``python -m emoji_gpt2.generate "I love pizza"``."""

if __name__ == "__main__":
    try:  # the imports take seconds
        from emoji_gpt2.generation.command import main
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    main()
