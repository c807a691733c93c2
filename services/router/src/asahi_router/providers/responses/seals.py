"""Whose encrypted thoughts are whose: each provider takes back its own alone, and refuses a question with others'.

Thoughts that were translated are marked, so that a conversation can go on at any provider: those that did not think
them are asked without them.
"""

_MARK = "asahi.anthropic:"
MARK = _MARK.encode()


def seal(encrypted: str) -> str:
    """A signature, or encrypted thoughts, of Anthropic's protocol, as `encrypted_content`."""
    return _MARK + encrypted


def unseal(encrypted_content: str) -> str:
    """What `seal` was given; empty: they are thoughts of OpenAI's own."""
    return encrypted_content.removeprefix(_MARK) if encrypted_content.startswith(_MARK) else ""
