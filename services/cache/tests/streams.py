"""Streams of candidates with a known share of wrong answers, run through the shipped decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from asahi_cache.domain.semantic.decision import Ledger, Record, Verdict
from asahi_cache.domain.semantic.verifier import Judgement

SURE = Judgement(0.99, same_class=False, cosine=0.97, against=())
LIKELY = Judgement(0.93, same_class=False, cosine=0.92, against=())
SAME_CLASS = Judgement(0.9995, same_class=True, cosine=1.0, against=())


@dataclass(slots=True)
class Outcome:
    """What came of a stream."""

    candidates: int = 0
    served: int = 0
    false_hits: int = 0
    audits: int = 0
    last_audit_probability: float = 1.0


def run(ledger: Ledger, truth: Random, shares: Sequence[float], judgement: Judgement = SURE) -> Outcome:
    """Candidates of a new stored prompt each, wrong with the probability at their place in `shares`."""
    outcome = Outcome()
    for share in shares:
        record = Record()
        wrong = truth.random() < share
        decision = ledger.decide(judgement, record)
        outcome.candidates += 1
        outcome.last_audit_probability = decision.audit_probability
        if decision.verdict is Verdict.SERVE:
            outcome.served += 1
            outcome.false_hits += wrong
        elif decision.verdict is Verdict.AUDIT:
            outcome.audits += 1
            ledger.add_audit(decision.stratum, record, wrong=wrong)
    return outcome
