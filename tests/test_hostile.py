"""A little hostility (`python -m tests.hostile` has more): nobody's input is answered with a 5xx, others are served."""

from pathlib import Path
from random import Random

import pytest

from tests.hostile.__main__ import attack
from tests.hostile.bodies import send_all
from tests.hostile.mutations import mutated, scrambled
from tests.hostile.pressure import ATTACKS, QUESTION
from tests.installation import running_installation
from tests.witness import witness


@pytest.fixture
def documents() -> list[bytes]:
    return [mutated(Random(number), {"prompt": "What is 6 times 7?", "stop": ["."]}) for number in range(200)]


async def test_wrong_input_is_refused_and_none_is_sent_twice(data: Path) -> None:
    kept = data / "kept.jsonl"
    with running_installation(data) as installation:
        sent = await send_all(installation, 1200, 7, kept)
        assert (sent.faults, sent.earlier, sent.now) == ([], 0, 1200)
        again = await send_all(installation, 1200, 7, kept)
        assert (again.earlier, again.now, again.statuses) == (1200, 0, sent.statuses)


async def test_others_are_served_while_connections_mean_no_good(data: Path) -> None:
    with running_installation(data) as installation:
        hostile = installation.signup("Hostile")
        with witness(installation.signup("Somebody else"), QUESTION) as other:
            assert await attack(hostile, other, list(ATTACKS), connections=0.02, seconds=0.4) == []


def test_the_same_number_makes_the_same_body_and_nearly_every_one_another(documents: list[bytes]) -> None:
    again = [mutated(Random(number), {"prompt": "What is 6 times 7?", "stop": ["."]}) for number in range(200)]
    assert documents == again
    assert len(set(documents)) > 100


def test_bytes_are_scrambled_within_bounds() -> None:
    for number in range(200):
        found = scrambled(Random(number), b'{"a": 1}')
        assert len(found) < 1000
