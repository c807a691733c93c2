"""The repeated traffic that tier 2 is measured on: what is asked, and how often."""

from collections import Counter
from random import Random

from services.cache.tests.repeated_traffic import Repeated, clusters, pairs_of, traffic, written


def test_every_question_is_asked_in_five_to_fifty_phrasings_that_no_other_shares() -> None:
    questions = written(Random(1))
    assert len(questions) > 500
    assert all(5 <= len(question.phrasings) <= 50 for question in questions)
    spoken = Counter(phrasing for question in questions for phrasing in question.phrasings)
    assert max(spoken.values()) == 1
    assert not [phrasing for phrasing in spoken if "{" in phrasing or "~" in phrasing]


def test_pairs_that_are_the_same_make_clusters_and_small_ones_are_left_out() -> None:
    same = [{"a": f"one {at}", "b": f"one {at + 1}", "label": 1} for at in range(4)]
    others = [{"a": "one 0", "b": "two", "label": 0}, {"a": "two", "b": "three", "label": 1}]
    (cluster,) = clusters(same + others)
    assert sorted(cluster.phrasings) == [f"one {at}" for at in range(5)]


def test_popularity_follows_zipf() -> None:
    questions = [Repeated([f"{at}"]) for at in range(100)]
    asked = Counter(one.meaning for one in traffic(questions, 20_000, 1.0, Random(2)))
    first, tenth = asked.most_common()[0][1], asked.most_common()[9][1]
    assert 7 <= first / tenth <= 14


def test_pairs_are_two_phrasings_of_one_question_or_of_two_that_differ_in_one_thing() -> None:
    questions = written(Random(1))
    means = {phrasing: question.place for question in questions for phrasing in question.phrasings}
    pairs = list(pairs_of(questions, Random(2)))
    assert {pair["label"] for pair in pairs} == {0, 1}
    for pair in pairs:
        one, other = means[pair["a"]], means[pair["b"]]
        assert sum(a != b for a, b in zip(one, other, strict=True)) == (0 if pair["label"] else 1), pair
