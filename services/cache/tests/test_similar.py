"""Tier 2 as a whole in one process, with the embedded store and a database: tenancy, truth, and the audits' bound."""

import asyncio
from datetime import timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.type.v1.chat_pb2 import Answer, ChatAnswer, ContentPart, NativeBody
from asahi_cache.domain.labels import user_label
from asahi_cache.domain.rules import SEVERAL
from asahi_cache.domain.semantic.equivalence import text_of
from asahi_cache.domain.semantic.evidence_log import Kind, Outcome
from asahi_cache.domain.semantic.similar import Finding, NoAnswer, outcome_of
from asahi_cache.domain.tiers import Selection
from services.cache.tests.builders import digest, entry
from services.cache.tests.tier_two import LOOSE, ORG, SCOPE, BagOfWords, asked, tier_two
from tests.postgresql import postgresql


def served_text(finding: Finding) -> str:
    assert finding.served is not None, finding
    return text_of(CacheEntry.FromString(finding.served.entry).answer)


def outcome(finding: Finding) -> str:
    if finding.decision is None:
        return str(finding.no_answer)
    return outcome_of(finding.decision)


async def test_a_question_in_another_form_is_answered_at_once(tmp_path: Path) -> None:
    async with tier_two(tmp_path) as two:
        assert outcome(await two.ask("What is a heat pump?", "It moves heat.")) == NoAnswer.NO_NEIGHBOUR
        assert served_text(await two.ask("Hello! what is a HEAT pump")) == "It moves heat."


async def test_nothing_is_embedded_where_the_scope_is_empty(tmp_path: Path) -> None:
    words = BagOfWords()
    async with tier_two(tmp_path, embedder=words) as two:
        await two.ask("What is a heat pump?")
        assert words.embedded == 0
        finding = await two.ask("What is a heat pump?", embedding_wanted=True)
        assert words.embedded == 1
        assert np.linalg.norm(np.frombuffer(finding.embedding, "<f4")) == pytest.approx(1)
        await two.ask("What is a heat pump?", embedding_wanted=True, false_hit_bound=0.0, answer="kept for nobody")
        assert not await two.questions.holds(ORG, SCOPE, 0) or outcome(await two.ask("x")) == "improbable"


async def test_paraphrases_are_served_once_audits_prove_it_and_never_after_they_refute_it(tmp_path: Path) -> None:
    async with tier_two(tmp_path) as two:
        seen = []
        for number in range(40):
            answer = f"Answer {number} is in part {number}."
            await two.ask(f"How do I open drawer {number}?", answer)
            seen.append(outcome(await two.ask(f"How can I open drawer {number}?", answer)))
        proven = seen.index("served")
        assert proven >= 10
        assert set(seen[:proven]) == {"insufficient_evidence"}
        assert set(seen[proven:]) == {"served"}
    async with tier_two(tmp_path / "other", Random(1).random) as two:
        states = []
        for number in range(60):
            await two.ask(f"How do I open drawer {number}?", f"Left {number}.")
            states.append(
                outcome(await two.ask(f"How can I open drawer {number}?", f"No: turn key {number + 7} first."))
            )
        assert "served" not in states
        assert states[-1] == "bound_exceeded"


async def test_the_opposite_is_never_served_however_clean_the_audits_were(tmp_path: Path) -> None:
    async with tier_two(tmp_path) as two:
        for number in range(40):
            await two.ask(f"How do I enable port {number}?", "Yes.")
            await two.ask(f"How can I enable port {number}?", "Yes.")
        for number in range(40):
            assert (await two.ask(f"How do I disable port {number}?")).served is None
            assert (await two.ask(f"How do I enable port {number + 1000}?")).served is None


async def test_evidence_counts_for_others_only_where_both_asked_for_it(tmp_path: Path) -> None:
    async with tier_two(tmp_path, shared_by={ORG, "org-2"}) as two:
        for number in range(40):
            answer = f"Answer {number} is in part {number}."
            await two.ask(f"How do I open drawer {number}?", answer)
            await two.ask(f"How can I open drawer {number}?", answer)
        found = {}
        for other in ("org-2", "org-3"):
            await two.ask("How do I open window 1?", "By its handle.", organization_id=other)
            found[other] = await two.ask("How can I open window 1?", organization_id=other)
        spoken_of = await two.evidence._store.records(SEVERAL, "rule", 10)
    assert served_text(found["org-2"]) == "By its handle."
    assert "share evidence" in found["org-2"].detail
    assert outcome(found["org-3"]) == "insufficient_evidence"
    assert list(spoken_of) == [b""], "what is shared names no question"


async def test_a_stored_answer_that_is_gone_is_not_served_and_its_question_leaves(tmp_path: Path) -> None:
    async with tier_two(tmp_path) as two:
        await two.ask("What is a heat pump?", "It moves heat.")
        await two.cache.invalidate(Selection(ORG))
        assert outcome(await two.ask("what is a heat pump")) == NoAnswer.NO_NEIGHBOUR
        await two.similar.settled()
        assert not await two.questions.holds(ORG, SCOPE, 0)


async def test_an_answer_that_is_too_old_is_not_served(tmp_path: Path) -> None:
    async with tier_two(tmp_path) as two:
        await two.ask("What is a heat pump?", "It moves heat.")
        two.clock.advance(100)
        assert served_text(await two.ask("what is a heat pump", max_age_s=101.0)) == "It moves heat."
        assert (await two.ask("what is a heat pump", max_age_s=99.0)).served is None
        two.clock.advance(timedelta(hours=1).total_seconds())
        assert outcome(await two.ask("what is a heat pump")) == NoAnswer.NO_NEIGHBOUR


async def test_erasing_an_end_user_erases_their_questions(tmp_path: Path) -> None:
    async with tier_two(tmp_path) as two:
        await two.ask("What is a heat pump?", "It moves heat.")
        await two.similar.drop(Selection(ORG, frozenset({user_label("bob")})))
        assert await two.questions.holds(ORG, SCOPE, 0)
        await two.similar.drop(Selection(ORG, frozenset({user_label("ann")})))
        assert not await two.questions.holds(ORG, SCOPE, 0)


async def test_what_is_erased_before_it_was_kept_is_never_kept(tmp_path: Path) -> None:
    words = BagOfWords()
    async with tier_two(tmp_path, embedder=words) as two:
        words.delay_s = 0.05
        for number, user in enumerate(("ann", "bob", "ann")):
            given = entry(user_id=user, given_at_s=two.clock.now().timestamp())
            two.similar.learn(asked(number, text=f"How do I {user} {number}"), given, 3600.0)
        await asyncio.sleep(0)
        await two.similar.drop(Selection(ORG, frozenset({user_label("ann")})))
        two.similar.learn(asked(3, text="How do I ann 3"), entry(user_id="ann"), 3600.0)
        await two.similar.settled()
        page, _ = await two.questions.scroll("", 10)
        assert sorted(question.text for question, _ in page) == ["How do I ann 3", "How do I bob 1"]


async def test_a_slow_model_costs_a_hit_and_no_more(tmp_path: Path) -> None:
    words = BagOfWords()
    async with tier_two(tmp_path, embedder=words) as two:
        await two.ask("What is a heat pump?", "It moves heat.")
        words.delay_s = 60.0
        two.similar._embed_s = 0.01
        finding = await two.ask("what is a heat pump")
        assert finding.no_answer is NoAnswer.UNAVAILABLE
        assert "too long" in finding.detail


_FIELDS = st.fixed_dictionaries(
    {
        "organization_id": st.sampled_from([ORG, "org-2"]),
        "scope": st.sampled_from([SCOPE, b"t" * 32]),
        "text": st.sampled_from(["What is a heat pump?", "How do I enable backups?", "How do I disable backups?"]),
    }
)


@settings(max_examples=3, deadline=None)
@given(st.lists(st.tuples(_FIELDS, _FIELDS), min_size=30, max_size=30))
def test_a_difference_in_organization_scope_or_question_is_a_miss_and_equal_in_all_is_a_hit(
    pairs: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    async def ask_all() -> None:
        with TemporaryDirectory() as folder:
            async with tier_two(Path(folder)) as two:
                for number, (one, other) in enumerate(pairs):
                    place = f"-{number}"  # organisations of its own for each pair
                    await two.ask(answer="Mine.", **{**one, "organization_id": one["organization_id"] + place})
                    there = {"text": other["text"].lower(), "organization_id": other["organization_id"] + place}
                    found = await two.ask(**{**other, **there})
                    assert (found.served is not None) == (one == other), (one, other)

    asyncio.run(ask_all())


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_evidence_outlives_the_process_and_is_one_for_all_replicas(tmp_path: Path, database: str) -> None:
    if database == "postgresql":
        with postgresql() as server:
            await _shares_evidence(tmp_path, server.create_database("evidence"))
    else:
        await _shares_evidence(tmp_path, "")


async def _shares_evidence(folder: Path, url: str) -> None:
    def learnt(number: int, *, wrong: bool = False) -> Outcome:
        return Outcome(f"r-{number}", Kind.AUDIT, 1, digest(7), wrong, 1.0, number)

    async with tier_two(folder / "a", url=url or "") as one:
        for number in range(30):
            assert await one.evidence.add(ORG, LOOSE, learnt(number))
        assert not await one.evidence.add(ORG, LOOSE, learnt(3)), "an audit counts once"
        ledger = await one.evidence.ledger(ORG, LOOSE)
        assert ledger.evidence(1).proven
        audits = ledger.evidence(1).audits
        if not url:
            await asyncio.sleep(0)
            other_folder = folder / "a"
        else:
            other_folder = folder / "b"
            async with tier_two(other_folder, url=url) as two:
                assert (await two.evidence.ledger(ORG, LOOSE)).evidence(1).proven
                await asyncio.gather(
                    *(r.evidence.add(ORG, LOOSE, learnt(100 + n)) for n, r in enumerate((one, two) * 4))
                )
                assert (await two.evidence.ledger("org-2", LOOSE)).evidence(1).audits == 0
            audits += 8
    async with tier_two(other_folder, url=url) as again:
        ledger = await again.evidence.ledger(ORG, LOOSE)
        assert (ledger.evidence(1).audits, ledger.evidence(1).proven) == (audits, True)
        assert again.evidence.record(ORG, LOOSE, digest(7)).right == audits
        stricter = await again.evidence.ledger(ORG, 0.001)
        assert (stricter.evidence(1).audits, stricter.evidence(1).proven) == (audits, False)
        assert await again.evidence.erase(ORG) == audits
        assert (await again.evidence.ledger(ORG, LOOSE)).evidence(1).audits == 0


async def test_a_callers_word_counts_once_and_only_against(tmp_path: Path) -> None:
    async with tier_two(tmp_path) as two:
        await two.ask("What is a heat pump?", "It moves heat.")
        finding = await two.ask("what is a heat pump", request_id="hit-1")
        assert finding.served is not None
        await two.ask("What is a heat pump", request_id="hit-2")
        assert not await two.evidence.report(ORG, "unknown", correct=False)
        assert not await two.evidence.report("org-2", "hit-1", correct=False)
        assert await two.evidence.report(ORG, "hit-1", correct=False)
        assert not await two.evidence.report(ORG, "hit-1", correct=False)
        assert await two.evidence.report(ORG, "hit-2", correct=True)
        ledger = await two.evidence.ledger(ORG, LOOSE)
        assert (ledger.figures.reported_wrong, ledger.evidence(0).audits, ledger.evidence(0).wrong) == (1, 1, 1)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(chat=ChatAnswer(parts=[ContentPart(text="It "), ContentPart(text="moves heat.")])),
        Answer(native=NativeBody(body=b'{"choices":[{"message":{"content":"It moves heat."}}]}')),
        Answer(
            native=NativeBody(body=b'{"content":[{"type":"text","text":"It "},{"type":"text","text":"moves heat."}]}')
        ),
        Answer(native=NativeBody(body=b'{"output":[{"content":[{"type":"output_text","text":"It moves heat."}]}]}')),
    ],
)
def test_the_text_of_an_answer_is_found_in_every_protocol(answer: Answer) -> None:
    assert text_of(answer) == "It moves heat."


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"content":null}', b"\xff"])
def test_an_answer_of_no_known_form_has_no_text(body: bytes) -> None:
    assert text_of(Answer(native=NativeBody(body=body))) == ""
