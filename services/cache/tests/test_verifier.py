"""What the verifier tells apart where cosine does not, and what serves from the first request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi_cache.domain.semantic.classes import normal_form
from asahi_cache.domain.semantic.evidence import compare
from asahi_cache.domain.semantic.verifier import question_of, shipped_verifier
from asahi_cache.domain.semantic.words import words_of

_PROMPTS = st.text(max_size=200) | st.lists(
    st.sampled_from(["How", "do", "not", "I", "enable", "--force", "in", "Paris", "3", "?", "a_b", "if\n"]), max_size=12
).map(" ".join)


@pytest.mark.parametrize(
    ("asked", "stored", "kind"),
    [
        ("How do I mute a channel?", "How do I unmute a channel?", "opposites"),
        ("Which plans have a trial?", "Which plans don't have a trial?", "negation"),
        ("Boil rice for 12 minutes?", "Boil rice for twenty minutes?", "numbers"),
        ("Train from Lyon to Paris", "Train from Paris to Lyon", "swapped"),
        ("What does tar -x do?", "What does tar -c do?", "code"),
        ("Is the museum in Oslo open?", "Is the museum in Bergen open?", "names"),
        ("Sort this in Kotlin", "Sort this in Scala", "same_class"),
        ("Files modified before noon", "Files modified after noon", "opposites"),
        ("Reply in one sentence", "Reply in one paragraph", "same_class"),
    ],
)
def test_evidence_against_is_named(asked: str, stored: str, kind: str) -> None:
    judgement = shipped_verifier().judge(question_of(asked), question_of(stored), 0.97)
    assert kind in judgement.against
    assert judgement.probability < 0.5


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("How do I turn off notifications?", "How can I disable notifications?"),
        ("What is 3 km in miles?", "What is three kilometres in miles?"),
        ("In Ruby, reverse a string", "Reverse a string in Ruby"),
    ],
)
def test_the_same_in_other_words_has_no_evidence_against(asked: str, stored: str) -> None:
    judgement = shipped_verifier().judge(question_of(asked), question_of(stored), 0.95)
    assert set(judgement.against) <= {"swapped"}
    assert judgement.probability > 0.5


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("What is a heat pump?", "  what is a HEAT pump "),
        ("What is a heat pump?", "Hello! What is a heat pump? Thanks a lot!"),
        ("What is a heat pump?", "Please, what is a heat pump"),
    ],
)
def test_what_differs_in_nothing_that_matters_is_of_one_class(asked: str, stored: str) -> None:
    assert normal_form(asked) == normal_form(stored)


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("print(Total)", "print(total)"),
        ("if x:\n    y", "if x:\n  y"),
        ("Is it `US`", "Is it `us`"),
        ("please", "thanks"),
        ("What is C?", "What is C++?"),
        ("Translate hello into French", "Translate into French"),
    ],
)
def test_what_may_matter_is_of_two_classes(asked: str, stored: str) -> None:
    assert normal_form(asked) != normal_form(stored)


@given(_PROMPTS, _PROMPTS, st.floats(-1, 1))
def test_the_verdict_is_a_probability_and_the_same_both_ways(asked: str, stored: str, cosine: float) -> None:
    one, other = question_of(asked), question_of(stored)
    there, back = (shipped_verifier().judge(a, b, cosine) for a, b in ((one, other), (other, one)))
    assert 0 <= there.probability <= 1
    assert there.probability == pytest.approx(back.probability)


@given(_PROMPTS, st.floats(0, 1))
def test_a_prompt_beside_itself_has_no_evidence_against(prompt: str, cosine: float) -> None:
    words = words_of(prompt)
    assert compare(words, words, cosine).against == []
