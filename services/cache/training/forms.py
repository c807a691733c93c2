"""`python -m services.cache.training.forms --prompts FILE`: how often prompts of one form want different answers.

Draws prompts from labelled pairs, changes each in what the normal form levels, and prints the two for a person to read.
`--wrong` takes the numbers of those whose answers may differ and writes `forms.json`: what normal forms are proven by
before any audit. Beside it stands what the pairs' own labels say of those that differ in such things, and in things
that might be levelled too. Of the prompts nothing is kept but a digest.
"""

import argparse
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from asahi_cache.domain.semantic.classes import normal_form
from asahi_cache.domain.semantic.lexicon import lexicon
from asahi_cache.evaluate import clopper_pearson

_LONGEST = 400
_KINDS = ("case", "white space", "marks at the end", "courtesies")
_MARKS = re.compile(r"[^\w\s]+")
_CONTRACTIONS = (
    (re.compile(r"\bwon['’]t\b"), "will not"),
    (re.compile(r"\bcan['’]t\b|\bcannot\b"), "can not"),
    (re.compile(r"n['’]t\b"), " not"),
    (re.compile(r"\b(what|who|how|where|when|it|that|there|he|she)['’]s\b"), r"\1 is"),
    (re.compile(r"['’]re\b"), " are"),
    (re.compile(r"['’]m\b"), " am"),
    (re.compile(r"['’]ve\b"), " have"),
    (re.compile(r"['’]ll\b"), " will"),
)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def _without_marks(prompt: str) -> str:
    return " ".join(_MARKS.sub(" ", prompt.casefold()).split())


def _without_contractions(prompt: str) -> str:
    text = prompt.casefold()
    for pattern, stands in _CONTRACTIONS:
        text = pattern.sub(stands, text)
    return _without_marks(text)


def _without_articles(prompt: str) -> str:
    return " ".join(_ARTICLES.sub(" ", _without_contractions(prompt)).split())


_FORMS: Mapping[str, Callable[[str], str]] = {
    "normal form": normal_form,
    "marks within": _without_marks,
    "contractions": _without_contractions,
    "articles": _without_articles,
}
"""The shipped form, and what it might level too: each all that stands before it."""


def changed(prompt: str, random: Random) -> tuple[str, tuple[str, ...]]:
    """The prompt in another guise, and in what it differs."""
    kinds = tuple(kind for kind in _KINDS if random.random() < 0.5) or (random.choice(_KINDS),)
    text = prompt
    if "case" in kinds:
        text = text.upper() if random.random() < 0.3 else text.lower()
    if "marks at the end" in kinds:
        bare = text.rstrip(" .?!")
        text = bare if bare != text else f"{text}{random.choice('?.!')}"
    if "white space" in kinds:
        at = random.choice([at for at, character in enumerate(text) if character == " "] or [len(text)])
        text = random.choice((f" {text} ", f"{text[:at]}  {text[at:]}"))
    if "courtesies" in kinds:
        courtesy = random.choice(lexicon().greetings)
        text = random.choice((f"{courtesy}, {text}", f"{text} {courtesy}"))
    return text, kinds


def draw(prompts: Sequence[str], count: int, random: Random) -> list[tuple[str, str, tuple[str, ...]]]:
    """Pairs that are of one form, each with what it differs in."""
    drawn = []
    for prompt in random.sample(prompts, len(prompts)):
        other, kinds = changed(prompt, random)
        if len(prompt) <= _LONGEST and other != prompt and normal_form(other) == normal_form(prompt):
            drawn.append((prompt, other, kinds))
        if len(drawn) == count:
            break
    return drawn


def main() -> None:
    """Prints the pairs, or with `--wrong` writes what reading them came to."""
    parser = argparse.ArgumentParser(prog="services.cache.training.forms", description=__doc__)
    parser.add_argument("--prompts", type=Path, required=True, help="JSON lines `a`, `b`, `label`; may be .gz")
    parser.add_argument("--pairs", type=int, default=700)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wrong", type=int, nargs="*", help="numbers of the pairs whose answers may differ")
    options = parser.parse_args()
    pairs = _read(options.prompts)
    prompts = sorted({pair[side] for pair in pairs for side in ("a", "b")})
    drawn = draw(prompts, options.pairs, Random(options.seed))
    if options.wrong is None:
        for number, (prompt, other, _) in enumerate(drawn, start=1):
            print(f"{number}\t{prompt}\t{other}")
        return
    wrong = set(options.wrong)
    of_kinds = Counter(kind for *_, kinds in drawn for kind in kinds)
    wrong_of = Counter(kind for number, (*_, kinds) in enumerate(drawn, start=1) if number in wrong for kind in kinds)
    report = {
        "made_by": f"python -m services.cache.training.forms --pairs {options.pairs} --seed {options.seed} --wrong"
        + "".join(f" {number}" for number in sorted(wrong)),
        "digest": hashlib.sha256(repr(drawn).encode()).hexdigest(),
        **_share(len(wrong), len(drawn)),
        "by_kind": {kind: _share(wrong_of[kind], of_kinds[kind]) for kind in _KINDS},
        "by_labels": labelled(pairs),
    }
    target = Path(str(files("asahi_cache.domain.semantic").joinpath("forms.json")))
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(target.read_text(encoding="utf-8"))


def _share(wrong: int, of: int) -> dict[str, float]:
    """How many were wrong, and the most that the share may be with probability 0.95."""
    _, most = clopper_pearson(wrong, of, alpha=0.1)
    return {"of": of, "wrong": wrong, "most": round(most, 5)}


def labelled(pairs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By what levels them first, how many pairs there are, and how many of them the labels call different."""
    found = {name: [0, 0] for name in _FORMS}
    for pair in pairs:
        name = next((name for name, form in _FORMS.items() if form(pair["a"]) == form(pair["b"])), None)
        if name is not None:
            found[name][0] += 1
            found[name][1] += not pair["label"]
    return {name: _share(wrong, of) for name, (of, wrong) in found.items()}


def _read(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


if __name__ == "__main__":
    main()
