"""``python -m emoji_gpt2.evaluate``: the command; the function is ``emoji_gpt2.evaluate``.

To be run and not imported: Python would put this module where the package has its function of the
same name, which is why that stands in ``evaluation``.
"""

if __name__ == "__main__":
    from emoji_gpt2.evaluation.command import main

    main()
