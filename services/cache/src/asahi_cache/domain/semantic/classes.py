"""Prompts that differ in nothing that can change an answer: they serve each other from the first request on.

Two prompts are of one class when they are equal after Unicode's compatibility forms, white space, case, marks at the
end, and greetings and courtesies at either end are levelled. A prompt with code, markup or lines of its own is left as
it is but for the white space at its ends: there, case and spacing can mean something.
"""

import json
import re
import unicodedata
from functools import cache
from importlib.resources import files

from asahi_cache.domain.semantic.lexicon import lexicon

_SHAPED = re.compile(r"[\n\t`{}<>\\|=;]|\w[_/]\w|\b[a-z]+[A-Z]|\w\(|[\"“”']")
_SPACES = re.compile(r"\s+")
_ENDS = " \t\n.,!?…:;-"


def normal_form(prompt: str) -> str:
    """Equal for prompts of one class."""
    text = unicodedata.normalize("NFKC", prompt).strip()
    if _SHAPED.search(text):
        return text
    bare = without_courtesies(text).casefold().rstrip(_ENDS)
    return bare or text.casefold()


@cache
def wrong_within_a_class() -> float:
    """Most of such answers that are wrong, as a share, with probability 0.95: an exact binomial bound, found offline.

    `forms.json` says how it was made (`services/cache/training/forms.py`).
    """
    data = json.loads(files(__package__).joinpath("forms.json").read_text(encoding="utf-8"))
    return max(float(kind["most"]) for kind in data["by_kind"].values())


def without_courtesies(prompt: str) -> str:
    """The prompt without greetings and thanks at its ends, spaces levelled; what is asked stays as it is."""
    text = _SPACES.sub(" ", prompt.strip()) if "\n" not in prompt else prompt.strip()
    for _ in range(4):
        shorter = _without_one(text)
        if shorter == text:
            break
        text = shorter
    return text


def _without_one(text: str) -> str:
    lowered = text.lower()
    for courtesy in lexicon().greetings:
        if lowered.startswith(courtesy):
            rest = text[len(courtesy) :]
            if rest[:1] in {",", "!", ".", ":", " "} and rest.strip(_ENDS):
                return rest.lstrip(_ENDS)
        bare = text.rstrip(_ENDS)
        if bare.lower().endswith(courtesy):
            rest = bare[: -len(courtesy)]
            if rest[-1:] in {",", "!", ".", "?", " "} and rest.strip(_ENDS):
                return rest.rstrip(" ,")
    return text
