"""The README.md of a model repository: which one may be replaced, and which is a person's.

    text = signed("# Pizza")                  # ends with a comment that holds a hash of the text
    is_ours(text)                             # True
    is_ours(text.replace("Pizza", "Pie"))     # False: somebody edited it

The hash stands in the README itself, so that any run on any machine can tell. White space does not
count: editors and git change it.
"""

import hashlib

README = "README.md"


def signed(text: str) -> str:
    """Return ``text`` with a comment at its end by which ``is_ours`` recognises it."""
    digest = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
    return f"{text}\n<!-- Written by emoji_gpt2; once edited, it is not replaced. {digest} -->\n"


def is_ours(text: str) -> bool:
    """Tell whether a README is one that ``signed`` returned, or the Hub's first, and unedited.

    The Hub's is there where its form for new repositories was given a licence, and says that alone.
    """
    if signed(text.rpartition("<!--")[0]).split() == text.split():
        return True
    lines = (line.strip() for line in text.splitlines())
    return all(line in ("", "---") or line.startswith("license") for line in lines)
