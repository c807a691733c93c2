"""A little hostility (`python -m tests.hostile` has more): nobody's input is answered with a 5xx, others are served."""

from pathlib import Path
from random import Random

import pytest

from tests.hostile.__main__ import be_hostile
from tests.hostile.mutations import mutated, scrambled
from tests.installation import running_installation


@pytest.fixture
def documents() -> list[bytes]:
    return [mutated(Random(number), {"prompt": "What is 6 times 7?", "stop": ["."]}) for number in range(200)]


async def test_wrong_input_is_refused_and_others_are_served_meanwhile(data: Path) -> None:
    with running_installation(data) as installation:
        assert await be_hostile(installation, bodies=1200, connections=0.02, seed=7) == []


def test_the_same_number_makes_the_same_body_and_nearly_every_one_another(documents: list[bytes]) -> None:
    again = [mutated(Random(number), {"prompt": "What is 6 times 7?", "stop": ["."]}) for number in range(200)]
    assert documents == again
    assert len(set(documents)) > 100


def test_bytes_are_scrambled_within_bounds() -> None:
    for number in range(200):
        found = scrambled(Random(number), b'{"a": 1}')
        assert len(found) < 1000
