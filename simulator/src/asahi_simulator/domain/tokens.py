"""The simulator's tokenizer. It loses nothing: the pieces of a text, joined, are the text.

A piece is up to six letters, up to three digits, up to three other marks (each with the one space before it), or up to
four blanks. English text comes out at about four characters a token.
"""

import re

_PIECES = re.compile(r" ?[^\W\d_]{1,6}| ?\d{1,3}| ?(?:[^\w\s]|_){1,3}|\s{1,4}")


def split(text: str) -> list[str]:
    """The tokens of `text`."""
    return _PIECES.findall(text)
