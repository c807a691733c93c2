"""The bound on wrong answers: what audits prove, and what is served meanwhile."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asahi_cache.domain.semantic.bound import BoundSettings, Evidence, confidence_sequence
from asahi_cache.domain.semantic.classes import wrong_within_a_class
from asahi_cache.domain.semantic.decision import LEAST_AUDITS, Ledger, Record, State, Verdict
from asahi_cache.domain.semantic.verifier import Judgement
from services.cache.tests.streams import LIKELY, SAME_CLASS, SURE, run


def test_about_four_hundred_clean_audits_prove_one_in_a_hundred() -> None:
    evidence = Evidence(BoundSettings(0.01))
    while not evidence.proven:
        evidence.add(wrong=False)
    assert 300 <= evidence.audits <= 450


def test_no_stream_is_proven_by_fewer_audits_than_its_bound_needs() -> None:
    evidence = Evidence(BoundSettings(0.05))
    for _ in range(58):  # log(20) / -log(0.95)
        evidence.add(wrong=False)
    assert not evidence.proven


@pytest.mark.parametrize("delta", [0.02, 0.05])
def test_a_stream_at_its_bound_is_hardly_ever_proven(delta: float) -> None:
    random = Random(3)
    proven = 0
    for _ in range(200):
        evidence = Evidence(BoundSettings(delta))
        for _ in range(1500):
            evidence.add(wrong=random.random() < delta)
            if evidence.proven:
                proven += 1
                break
    assert proven <= 200 * 0.05 + 7  # α, and two standard deviations


@given(st.lists(st.booleans(), max_size=120), st.floats(0.005, 0.2))
def test_the_interval_holds_what_was_seen_and_a_wrong_answer_never_helps(outcomes: list[bool], alpha: float) -> None:
    low, high = confidence_sequence(sum(outcomes), len(outcomes), alpha)
    assert 0 <= low <= high <= 1
    if outcomes:
        assert low <= sum(outcomes) / len(outcomes) <= high
    worse_low, worse_high = confidence_sequence(sum(outcomes) + 1, len(outcomes) + 1, alpha)
    assert worse_low >= low - 1e-9
    assert worse_high >= min(high, worse_high)


@given(st.lists(st.booleans(), max_size=200))
def test_wrong_answers_only_lower_the_proof(outcomes: list[bool]) -> None:
    better, worse = Evidence(BoundSettings(0.02)), Evidence(BoundSettings(0.02))
    for wrong in outcomes:
        better.add(wrong=False)
        worse.add(wrong=wrong)
        assert worse.proof <= better.proof * (1 + 1e-9) or better.epoch != worse.epoch


def test_nothing_is_served_before_it_is_proven_but_normal_forms() -> None:
    ledger = Ledger(0.01, Random(1).random)
    first = ledger.decide(Judgement(0.995, same_class=False, cosine=0.97, against=()), Record())
    assert (first.verdict, first.state) == (Verdict.AUDIT, State.INSUFFICIENT_EVIDENCE)
    alike = [ledger.decide(SAME_CLASS, Record()).verdict for _ in range(20)]
    assert alike.count(Verdict.SERVE) >= 5


def test_normal_forms_serve_unproven_only_under_a_bound_that_was_shown_for_them_offline() -> None:
    shown = wrong_within_a_class()
    assert 0 < shown <= 0.01
    strict, loose = Ledger(shown / 2, lambda: 0.99), Ledger(shown, lambda: 0.99)
    assert loose.decide(SAME_CLASS, Record()).verdict is Verdict.SERVE
    asked = strict.decide(SAME_CLASS, Record())
    assert (asked.verdict, asked.state) == (Verdict.AUDIT, State.INSUFFICIENT_EVIDENCE)


def test_audits_never_fall_below_two_in_a_hundred() -> None:
    run_ = run(Ledger(0.05, Random(5).random), Random(6), [0.0] * 60_000)
    assert run_.last_audit_probability == LEAST_AUDITS
    assert run_.audits / run_.candidates >= LEAST_AUDITS


def test_an_alarm_stops_a_stream_that_went_bad_and_says_so() -> None:
    ledger = Ledger(0.02, Random(7).random)
    good = run(ledger, Random(8), [0.0] * 3000)
    assert ledger.known(1) is State.PROVEN
    assert good.served > 1000
    assert not ledger.exceeded
    bad = run(ledger, Random(9), [0.5] * 3000)
    assert ledger.known(1) is State.BOUND_EXCEEDED
    assert bad.false_hits < 100
    assert ledger.exceeded


def test_what_audits_say_of_a_stored_prompt_moves_its_own_neighbours_only() -> None:
    ledger = Ledger(0.02, Random(1).random)
    trusted, refuted = Record(right=8), Record(wrong=2)
    assert ledger.decide(LIKELY, trusted).stratum < ledger.decide(LIKELY, Record()).stratum
    assert ledger.decide(LIKELY, refuted).verdict is Verdict.IMPROBABLE


def test_what_others_proved_is_served_and_audited_until_ones_own_audits_refute_it() -> None:
    shared, own = Ledger(0.05, Random(1).random), Ledger(0.05, Random(2).random)
    run(shared, Random(3), [0.0] * 1000)
    first = own.decide(SURE, Record(), shared)
    assert first.state is State.SHARED
    assert first.audits == shared.evidence(first.stratum).audits
    assert 0.02 <= first.audit_probability <= 0.5
    for _ in range(10):
        own.add_audit(first.stratum, Record(), wrong=True)
    last = own.decide(SURE, Record(), shared)
    assert (last.verdict, last.state) == (Verdict.AUDIT, State.BOUND_EXCEEDED)


def test_callers_who_say_wrong_can_stop_a_stream() -> None:
    ledger = Ledger(0.02, Random(2).random)
    run(ledger, Random(3), [0.0] * 2000)
    for _ in range(6):
        ledger.report_wrong(1, Record())
    assert ledger.known(1) is State.BOUND_EXCEEDED


@pytest.mark.parametrize(("delta", "share"), [(0.01, 0.004), (0.02, 0.02), (0.05, 0.1)])
def test_false_hits_stay_within_the_bound_on_stationary_streams(delta: float, share: float) -> None:
    """A small version of `python -m services.cache.tests.bound_rig`."""
    kept = 0
    for seed in range(20):
        outcome = run(Ledger(delta, Random(seed).random), Random(1000 + seed), [share] * 4000)
        allowed = delta * outcome.served + 2 * (delta * outcome.served) ** 0.5
        kept += outcome.served < 500 or outcome.false_hits <= allowed
    assert kept >= 19
