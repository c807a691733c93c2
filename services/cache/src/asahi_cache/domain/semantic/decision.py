"""What is done with a candidate: served, audited, or left aside; one ledger of evidence for each organisation.

Candidates fall into strata by the verifier's probability, corrected by what audits said of the stored prompt. Each
stratum is a stream of its own that must prove itself before it serves, with its part of the error probability, so
that whatever is served comes from streams that are proven. How good the verifier is decides how much is served,
never how much of it is wrong.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from asahi_cache.domain.semantic.bound import BoundSettings, Evidence, confidence_sequence
from asahi_cache.domain.semantic.classes import wrong_within_a_class
from asahi_cache.domain.semantic.verifier import Judgement

STRATA: tuple[tuple[float, float], ...] = ((0.985, 0.55), (0.95, 0.25), (0.85, 0.12), (0.7, 0.08))
"""Least probability of each stratum, strictest first, and its part of α."""
ALPHA = 0.05
LEAST_AUDITS = 0.02
_FIRST_AUDITS = 0.5
_AUDITS_HALVE_AT = 33.0


class Verdict(StrEnum):
    """What happens to a request for which a stored answer was found."""

    SERVE = "serve"
    """The stored answer is given."""
    AUDIT = "audit"
    """The provider is asked, and the two answers are compared."""
    IMPROBABLE = "improbable"
    """The stored answer is left aside: it hardly serves."""


class State(StrEnum):
    """What is known of a stratum."""

    NORMAL_FORM = "normal_form"
    """Proven before any audit: nothing differs that can change an answer."""
    PROVEN = "proven"
    SHARED = "shared"
    """Proven by the audits of organisations that share evidence, this one among them, and not refuted by its own."""
    INSUFFICIENT_EVIDENCE = "insufficient_evidence"
    BOUND_EXCEEDED = "bound_exceeded"


SERVING = frozenset({State.NORMAL_FORM, State.PROVEN, State.SHARED})
"""Strata whose candidates are served but for a part that is audited."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done, and on what grounds."""

    verdict: Verdict
    probability: float
    """That the stored answer serves, after what audits said of its prompt."""
    stratum: int
    """0 the normalisation classes, 1 and up the strata; -1: none."""
    state: State
    audit_probability: float
    """ρ: with which such a candidate is audited though it could be served."""
    audits: int
    """That this rests on: the organisation's own, or those that are shared."""
    wrong: int

    def interval(self) -> tuple[float, float]:
        """Confidence sequence for the share of wrong answers in the stratum."""
        return confidence_sequence(self.wrong, self.audits, ALPHA)


@dataclass(slots=True)
class Record:
    """What audits said of one stored prompt."""

    right: int = 0
    wrong: int = 0


@dataclass(slots=True)
class _Stratum:
    evidence: Evidence
    served: int = 0
    """Since it was proven, by all who share the ledger as far as known."""
    unsaved: int = 0
    """Of these, what nobody else knows of yet."""

    sure: bool = False
    """Whether nothing differs that can change an answer, so that where it is proven only the least is audited."""

    def audit_probability(self) -> float:
        """Where it is proven."""
        if self.sure:
            return LEAST_AUDITS
        return max(LEAST_AUDITS, _FIRST_AUDITS / math.sqrt(1 + self.served / _AUDITS_HALVE_AT))


@dataclass(slots=True)
class Figures:
    """What one organisation's tier 2 did."""

    served: int = 0
    audits: int = 0
    wrong: int = 0
    improbable: int = 0
    reported_wrong: int = 0
    """Served answers that callers said were wrong."""


class Ledger:
    """The evidence of one organisation under one bound."""

    def __init__(self, delta: float, random: Callable[[], float], *, judge_misses: float = 0.0) -> None:
        """`random` yields numbers in [0, 1). `judge_misses`: share of wrong answers that audits take for right.

        Of a share δ of wrong answers such audits see δ·(1 − judge_misses), which is what is tested.
        """
        self.delta = delta
        self.figures = Figures()
        self._random = random
        tested = delta * (1 - judge_misses)
        classes = Evidence(BoundSettings(tested, ALPHA), proven=wrong_within_a_class() <= delta)
        self._classes = _Stratum(classes, sure=True)
        self._strata = [_Stratum(Evidence(BoundSettings(tested, ALPHA * part))) for _, part in STRATA]

    def decide(self, judgement: Judgement, record: Record, shared: "Ledger | None" = None) -> Decision:
        """What to do with a candidate. What is to be audited is to come back by `add_audit`.

        `shared`: the evidence of organisations that share it, if this one does.
        """
        probability = corrected(judgement.probability, record)
        number = stratum_of(judgement, probability)
        if number < 0:
            self.figures.improbable += 1
            return Decision(Verdict.IMPROBABLE, probability, number, State.INSUFFICIENT_EVIDENCE, 1.0, 0, 0)
        stratum, state = self._stratum(number), self.known(number, shared)
        evidence = stratum.evidence if shared is None or state is not State.SHARED else shared.evidence(number)
        rho = stratum.audit_probability() if state in SERVING else 1.0
        audited = self._random() < rho
        if not audited:
            stratum.served += 1
            stratum.unsaved += 1
            self.figures.served += 1
        return Decision(
            Verdict.AUDIT if audited else Verdict.SERVE,
            probability,
            number,
            state,
            rho,
            evidence.audits,
            evidence.wrong,
        )

    def add_audit(self, stratum: int, record: Record, *, wrong: bool) -> None:
        """Takes the outcome of an audit, for the stratum and for the stored prompt."""
        self.figures.audits += 1
        self.figures.wrong += wrong
        if wrong:
            record.wrong += 1
        else:
            record.right += 1
        self._add(stratum, wrong=wrong)

    def report_wrong(self, stratum: int, record: Record) -> None:
        """Takes a caller's word that a served answer was wrong; it can only make the rule stricter."""
        self.figures.reported_wrong += 1
        record.wrong += 1
        self._add(stratum, wrong=True)

    def known(self, stratum: int, shared: "Ledger | None" = None) -> State:
        """What is known of a stratum; what its own audits refute nobody else's prove."""
        evidence = self._stratum(stratum).evidence
        if evidence.proven:
            return State.PROVEN if stratum else State.NORMAL_FORM
        if evidence.refuted:
            return State.BOUND_EXCEEDED
        return State.SHARED if shared is not None and shared.evidence(stratum).proven else State.INSUFFICIENT_EVIDENCE

    def evidence(self, stratum: int) -> Evidence:
        """What audits said of a stratum."""
        return self._stratum(stratum).evidence

    @property
    def exceeded(self) -> bool:
        """Whether something was served that came to be worse than the bound, and serves no more until proven anew."""
        return any(stratum.evidence.exceeded for stratum in self._all())

    def interval(self) -> tuple[float, float]:
        """Confidence sequence for the share of wrong answers over all audits."""
        return confidence_sequence(self.figures.wrong, self.figures.audits, ALPHA)

    def served(self, stratum: int) -> int:
        """Answers served of a stratum since it was proven."""
        return self._stratum(stratum).served

    def state(self) -> dict[str, Any]:
        """What `restore` takes, for JSON."""
        strata = [{"served": one.served, "evidence": one.evidence.state()} for one in self._all()]
        return {"strata": strata, "figures": asdict(self.figures)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes the evidence from `state`; what is served here and not saved is added to it."""
        self.figures = Figures(**state["figures"])
        for stratum, kept in zip(self._all(), state["strata"], strict=True):
            stratum.evidence.restore(kept["evidence"])
            stratum.served = kept["served"] + stratum.unsaved
            self.figures.served += stratum.unsaved

    def take_unsaved(self) -> Sequence[int]:
        """What was served here since this was last asked, by stratum, for `add_served` on what is saved."""
        served = [stratum.unsaved for stratum in self._all()]
        for stratum in self._all():
            stratum.unsaved = 0
        return served

    def return_unsaved(self, served: Sequence[int]) -> None:
        """It could not be saved."""
        for stratum, count in zip(self._all(), served, strict=True):
            stratum.unsaved += count

    def add_served(self, served: Sequence[int]) -> None:
        """Counts what was served elsewhere."""
        for stratum, count in zip(self._all(), served, strict=True):
            stratum.served += count
            self.figures.served += count

    def _add(self, number: int, *, wrong: bool) -> None:
        stratum = self._stratum(number)
        was_proven = stratum.evidence.proven
        stratum.evidence.add(wrong=wrong)
        if was_proven and not stratum.evidence.proven:
            stratum.served = stratum.unsaved = 0

    def _all(self) -> Sequence[_Stratum]:
        return (self._classes, *self._strata)

    def _stratum(self, number: int) -> _Stratum:
        return self._classes if number == 0 else self._strata[number - 1]


def corrected(probability: float, record: Record) -> float:
    """The verifier's probability after audits of its stored prompt; right ones help less than wrong ones harm."""
    logit = math.log(probability / (1 - probability)) if 0 < probability < 1 else math.copysign(30.0, probability - 0.5)
    logit += 0.8 * math.log1p(record.right) - 2.5 * record.wrong
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))


def stratum_of(judgement: Judgement, probability: float) -> int:
    """0 for the normalisation classes, else the number of the strictest stratum that takes it; -1: none."""
    if judgement.same_class:
        return 0
    return next((number for number, (least, _) in enumerate(STRATA, start=1) if probability >= least), -1)
