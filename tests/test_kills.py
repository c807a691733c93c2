"""A few kills of every service under load (`python -m tests.kills` makes many): the books agree."""

from pathlib import Path

import pytest

from tests.kills import VICTIMS, kill_services


@pytest.mark.parametrize("victim", VICTIMS)
async def test_the_books_of_clients_provider_and_ledger_agree_after_kills(data: Path, victim: str) -> None:
    assert await kill_services(data, [victim], instants=3, seed=11) == []


async def test_with_holds_on_postgresql_they_agree_too_and_nothing_stays_held(data: Path) -> None:
    assert await kill_services(data, ["edge+billing"], instants=3, seed=11, held=True) == []
