"""Sentences that say why a model was chosen, with the figures that decided. Prompts and keys are never in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from asahi.type.v1.routing_pb2 import LatencyPreference
from asahi_core.money import NANOS_PER_DOLLAR
from asahi_router.domain.candidates import Candidate, Limits
from asahi_router.domain.evidence import Evidence
from asahi_router.domain.features import Features
from asahi_router.domain.goal import Goal
from asahi_router.domain.learning.guard import Judged

_SIGNIFICANT_DIGITS = 3


def about_usd(nanos: int) -> str:
    """An amount for people: three digits that matter, `$0.00125`."""
    amount = abs(nanos) / NANOS_PER_DOLLAR
    digits = max(2, _SIGNIFICANT_DIGITS - 1 - floor(log10(amount))) if amount else 2
    text = f"{amount:.{digits}f}"
    return f"${text.rstrip('0').rstrip('.') if digits > 2 else text}"


def why_chosen(
    fitting: Sequence[Candidate],
    features: Features,
    limits: Limits,
    goal: Goal,
    reference: Candidate | None,
    *,
    yielded: bool,
) -> str:
    """Why the first of `fitting` answers. `yielded`: none of them reaches the goal."""
    chosen, count = fitting[0], len(fitting)
    models = "the only model" if count == 1 else f"the {'best' if yielded else 'cheapest'} of {count} models"
    quality = f"{chosen.quality:.2f} of 5 expected"
    if yielded:
        quality += f"; none is {goal.words}, {goal.quality:.2f}"
    elif goal.words:
        models += f" {goal.words}"
        quality += f", {goal.quality:.2f} needed"
    return (
        f"{chosen.model} is {models}{_within(chosen, limits)} for {features.kind} ({quality}), "
        f"about {_compared(chosen, reference)}."
    )


@dataclass(frozen=True, slots=True)
class Word:
    """What the guard said, by which evidence, to which end."""

    judged: Judged
    evidence: Evidence
    goal: Goal


def why_guarded(chosen: Candidate, reference: Candidate | None, word: Word, features: Features, limits: Limits) -> str:
    """Why the guard lets `chosen` answer, or keeps to the baseline."""
    judged, evidence = word.judged, word.evidence
    seen = "" if evidence.by_meaning else ", by the question's form alone"
    whose = " of organizations that share them" if evidence.common else ""
    by = f"by {evidence.outcomes} outcomes{whose}{seen}"
    cost = f"about {_compared(chosen, reference)}"
    within = _within(chosen, limits)
    baseline = reference.model if reference is not None else chosen.model
    if chosen.model != baseline and chosen.model in judged.differences:
        difference, error = judged.differences[chosen.model]
        return (
            f"{chosen.model} stands in for {baseline}{within} on this {features.kind} question, {by} "
            f"({100 * difference:+.1f} ± {100 * error:.1f} % expected, {100 * word.goal.epsilon:.3g} % may be lost "
            f"on the whole), {cost}."
        )
    if evidence.harm is not None:
        harm = evidence.harm
        return (
            f"{chosen.model} is the baseline{within} and answers all: measured by inverse propensity, routing lost "
            f"{100 * harm.lost:.1f} % of its quality (95 %: {100 * harm.low:.1f} to {100 * harm.high:.1f}), more than "
            f"the {100 * word.goal.epsilon:.3g} % that may be lost, {cost}."
        )
    if judged.strange:
        return f"{chosen.model} is the baseline{within}; the question is unlike any whose outcome is known, {cost}."
    return f"{chosen.model} is the baseline{within}; no cheaper model is surely as good on this question, {by}, {cost}."


def why_named(named: Candidate, name: str) -> str:
    """Why the model that the caller named, as `name`, answers."""
    alias = f" (as {name})" if name != named.model else ""
    cost = named.expected_cost_nanos
    expected = f"about {about_usd(cost)} expected" if cost is not None else "its price is not known"
    return f"The caller named {named.model}{alias}; {expected}."


def _name_of(preference: LatencyPreference.ValueType) -> str:
    return LatencyPreference.Name(preference).removeprefix("LATENCY_PREFERENCE_").lower()


def _within(chosen: Candidate, limits: Limits) -> str:
    kept = []
    if limits.first_token_ms is not None:
        limit = f"{limits.first_token_ms:.0f} ms to the first token"
        kept.append(f"{limit} ('{_name_of(limits.preference)}', {chosen.first_token_ms:.0f} expected)")
    if limits.total_ms is not None:
        kept.append(f"{limits.total_ms} ms ({chosen.total_ms:.0f} expected)")
    if limits.cost_nanos is not None and chosen.max_cost_nanos is not None:
        kept.append(f"{about_usd(limits.cost_nanos)} ({about_usd(chosen.max_cost_nanos)} at most)")
    return f" within {' and '.join(kept)}" if kept else ""


def _compared(chosen: Candidate, reference: Candidate | None) -> str:
    cost = about_usd(chosen.expected_cost_nanos or 0)
    if reference is None or reference.expected_cost_nanos is None or reference.model == chosen.model:
        return cost
    return f"{cost} against {about_usd(reference.expected_cost_nanos)} at {reference.model}"
