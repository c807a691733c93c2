"""Errors that say why no model may answer: the constraint that binds, and by how much."""

from collections.abc import Iterable, Sequence

from asahi_core.errors import AsahiError, ContextLengthExceeded, NoModelSatisfies
from asahi_router.domain.candidates import Candidate, Constraint, Limits, Violation, allowed_patterns
from asahi_router.domain.features import Features
from asahi_router.domain.goal import Goal
from asahi_router.domain.reasons import about_usd

_FIELDS = {
    Constraint.FIRST_TOKEN: "latency_preference",
    Constraint.LATENCY: "latency_budget_ms",
    Constraint.COST: "cost_budget",
}
_ASKED = frozenset({Constraint.QUALITY, Constraint.FIRST_TOKEN, Constraint.LATENCY, Constraint.COST})


def no_model(candidates: Sequence[Candidate], features: Features, limits: Limits, goal: Goal) -> AsahiError:
    """The error that no candidate may answer: which constraint binds, and by how much."""
    constraint, nearest = _binding(candidates)
    violation = nearest.violates(constraint) or Violation(constraint, "")
    if constraint == Constraint.WINDOW:
        return too_long(nearest, features)
    field = goal.field if constraint == Constraint.QUALITY else _FIELDS.get(constraint, "")
    message = _refusal(constraint, violation, nearest, features, limits)
    return NoModelSatisfies(message, param=violation.field or field or None)


def too_long(largest: Candidate, features: Features) -> ContextLengthExceeded:
    """The error that the question does not fit into the window of `largest`."""
    window, answer = largest.served.model.context_window, features.max_output_tokens or 0
    needed = largest.input_tokens + answer
    parts = f"about {largest.input_tokens} tokens" + (
        f", with {features.field('max_tokens')} {needed}" if answer else ""
    )
    message = (
        f"The prompt has {parts}; the largest window of an allowed model is {window} ({largest.model}), "
        f"{needed - window} too few. Shorten the prompt" + (" or ask for a shorter answer." if answer else ".")
    )
    return ContextLengthExceeded(message, param=features.field("messages"))


def _binding(candidates: Sequence[Candidate]) -> tuple[Constraint, Candidate]:
    """The constraint without which some model would do, and the model that misses it least.

    What the caller asked for comes before what the policy says: only that can the caller change. Where no single one is
    to blame: the first that leaves none of those that the constraints before it left.
    """
    alone = [c for c in candidates if len({violation.constraint for violation in c.violations}) == 1]
    if alone:
        best = min(alone, key=_how_binding)
        return best.violations[0].constraint, best
    left = list(candidates)
    for constraint in Constraint:
        kept = [c for c in left if c.violates(constraint) is None]
        if not kept:
            return constraint, min(left, key=lambda c: (_excess(c.violates(constraint)), c.model))
        left = kept
    raise AssertionError("every candidate violates something")


def _how_binding(candidate: Candidate) -> tuple[bool, float, int, str]:
    violation = candidate.violations[0]
    return violation.constraint not in _ASKED, violation.excess, -violation.constraint, candidate.model


def _excess(violation: Violation | None) -> float:
    return violation.excess if violation is not None else 0.0


def _refusal(
    constraint: Constraint, violation: Violation, nearest: Candidate, features: Features, limits: Limits
) -> str:
    name = nearest.model
    match constraint:
        case Constraint.SERVED:
            text = "None of the catalog's models is served here; the operator has configured no provider for them."
        case Constraint.MODELS:
            text = f"The allowed models ({allowed_patterns(limits)}) match none that is served here."
        case Constraint.PROVIDERS:
            text = f"The allowed providers ({_listed(limits.allowed_providers)}) serve no allowed model here."
        case Constraint.CAPABILITY | Constraint.PARAMETER:
            text = f"No allowed model that meets the other constraints takes '{violation.field}'; leave it out."
        case Constraint.ANSWER:
            most = nearest.served.model.max_output_tokens
            name = features.field("max_tokens")
            text = f"'{name}' is {features.max_output_tokens}; the most that an allowed model writes is {most}."
        case Constraint.PRICE:
            text = f"The price of {name} is not known, so it is only used where it is named (routing_mode 'explicit')."
        case Constraint.FLOOR:
            missing = limits.floor - nearest.quality
            text = (
                f"The policy's quality floor of {limits.floor:.2f} binds: the best that meets the other constraints is "
                f"{name} with {nearest.quality:.2f} for {features.kind}, {missing:.2f} less."
            )
        case Constraint.QUALITY:
            missing = limits.quality - nearest.quality
            text = (
                f"The quality of {limits.quality:g} that is asked for binds: the best that meets the other "
                f"constraints is {name} with {nearest.quality:.2f} for {features.kind}, {missing:.2f} less."
            )
        case Constraint.FIRST_TOKEN:
            limit = limits.first_token_ms or 0.0
            text = (
                f"The latency preference binds: it allows {limit:.0f} ms to the first token; the quickest that meets "
                f"the other constraints is {name} with {nearest.first_token_ms:.0f} ms expected, "
                f"{nearest.first_token_ms - limit:.0f} ms more."
            )
        case Constraint.LATENCY:
            budget = limits.total_ms or 0
            text = (
                f"The latency budget of {budget} ms binds: the quickest that meets the other constraints is {name} "
                f"with {nearest.total_ms:.0f} ms expected, {nearest.total_ms - budget:.0f} ms more."
            )
        case _:
            budget, most_nanos = limits.cost_nanos or 0, nearest.max_cost_nanos or 0
            bound = features.field("max_tokens")
            hint = "" if features.max_output_tokens else f" A '{bound}' would bound the answer's part of it."
            text = (
                f"The cost budget of {about_usd(budget)} binds: the cheapest that meets the other constraints is "
                f"{name}, which may cost up to {about_usd(most_nanos)}, {about_usd(most_nanos - budget)} more.{hint}"
            )
    return text


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")
