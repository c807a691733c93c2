"""With one provider broken and a second one sound, all are answered but those whose stream broke when it had begun."""

import asyncio
from pathlib import Path

import pytest

from tests.broken_provider import AT_ONCE, BROKEN, FORMS, SOUND, WAYS, Way, break_it, two_providers

REQUESTS = 80
_TRIED = ("dead", "silent", "refuses: 401", "lies: usage × 3", "cuts")


@pytest.mark.parametrize("way", [way for way in WAYS if way.name in _TRIED], ids=lambda way: way.name)
def test_the_sound_provider_answers_in_time_and_every_call_is_billed_once(tmp_path: Path, way: Way) -> None:
    with two_providers(tmp_path) as (running, broken):
        seen = asyncio.run(break_it(running, broken, way, REQUESTS))
    print(f"{way.name}: {dict(seen.answered)} answered, by {dict(seen.by)}; {dict(seen.failures)}")
    assert seen.wrong_bills == []
    assert (seen.late, seen.under_way) == (0, 0)
    assert seen.share([form for form in FORMS if "streamed" not in form]) == 1.0
    lost = REQUESTS - sum(seen.answered.values())
    assert lost <= (AT_ONCE + 2 if way.begun else 0), "a provider that breaks streams off is asked last"
    wrong_only_in_its_counts = way.mode == "usage"
    assert set(seen.by) == ({BROKEN[0]} if wrong_only_in_its_counts else {SOUND})
