"""The model that a caller names: whether there is one, whether it may be used, and whether it takes the question."""

from asahi_core.errors import AsahiError, ModelNotAllowed, ModelNotFound, PriceUnknown, UnsupportedByModel
from asahi_router.domain.candidates import (
    Candidate,
    Constraint,
    Limits,
    Scale,
    Violation,
    allowed_patterns,
    allows,
    unsupported,
    weigh,
)
from asahi_router.domain.features import Features
from asahi_router.domain.goal import NO_GOAL
from asahi_router.domain.models import ServedModel
from asahi_router.domain.refusals import no_model, too_long

_MOST_NAMED = 3
_UNSUPPORTED = frozenset({Constraint.CAPABILITY, Constraint.PARAMETER, Constraint.ANSWER})


_ACCESS = frozenset({Constraint.SERVED, Constraint.MODELS, Constraint.PROVIDERS})


def the_named(name: str, features: Features, limits: Limits, scale: Scale, *, answers: bool = True) -> Candidate:
    """The model of that id or alias, which may answer; `answers`: False: it need not, only be open to the key.

    Raises:
        ModelNotFound: the catalog lacks it, or nobody serves it here.
        ModelNotAllowed: the key or its organisation may not use it.
        UnsupportedByModel: it does not take the question.
        ContextLengthExceeded: its window is too small.
        PriceUnknown: its price is not known, and the call has a budget.
        NoModelSatisfies: it is expected to miss a budget.
    """
    served = scale.catalog.find(name)
    if served is None:
        raise _not_found(name, limits, scale)
    candidate = weigh(served, features, limits, scale)
    for violation in candidate.violations:
        if answers or violation.constraint in _ACCESS:
            raise _fault(candidate, violation, features, limits, scale)
    return candidate


def _fault(candidate: Candidate, violation: Violation, features: Features, limits: Limits, scale: Scale) -> AsahiError:
    error: AsahiError
    name = candidate.model
    match violation.constraint:
        case Constraint.SERVED:
            error = ModelNotFound(f"The model {name!r} is known, but no provider serves it here.", param="model")
        case Constraint.MODELS:
            message = f"The key may not use {name!r}; it may use {allowed_patterns(limits)}."
            error = ModelNotAllowed(message, param="model")
        case Constraint.PROVIDERS:
            message = f"The key may not use {name!r} of {candidate.provider}; allowed providers are "
            error = ModelNotAllowed(f"{message}{', '.join(limits.allowed_providers)}.", param="model")
        case constraint if constraint in _UNSUPPORTED:
            error = _unsupported(candidate, violation, features, limits, scale)
        case Constraint.WINDOW:
            error = too_long(candidate, features)
        case Constraint.PRICE:
            error = _price_unknown(name, limits)
        case _:
            error = no_model([candidate], features, limits, NO_GOAL)
    return error


def _price_unknown(name: str, limits: Limits) -> PriceUnknown:
    if limits.cost_nanos is not None:
        message = f"The price of {name!r} is not known, so that a cost budget cannot be kept; leave it out."
        return PriceUnknown(message, param="cost_budget")
    message = f"The price of {name!r} is not known, so that the budgets that apply cannot be kept; name another model."
    return PriceUnknown(message, param="model")


def _unsupported(
    candidate: Candidate, violation: Violation, features: Features, limits: Limits, scale: Scale
) -> UnsupportedByModel:
    if violation.constraint == Constraint.ANSWER:
        what = f"writes {violation.words}; '{violation.field}' is {features.max_output_tokens}"
    else:
        what = f"does not take '{violation.field}' as it was sent"
    takers = [
        served.model.id
        for served in scale.catalog.models
        if _is_allowed(served, limits) and not any(unsupported(served, features, by_name=True))
    ]
    shown = ", ".join(takers[:_MOST_NAMED]) + (", …" if len(takers) > _MOST_NAMED else "")
    instead = f"models that do: {shown}" if takers else "no allowed model does"
    return UnsupportedByModel(f"{candidate.model} {what}; {instead}.", param=violation.field)


def _not_found(name: str, limits: Limits, scale: Scale) -> ModelNotFound:
    allowed = [served.model.id for served in scale.catalog.models if _is_allowed(served, limits)]
    close = scale.catalog.close_names(name, allowed)
    hint = f"did you mean {' or '.join(close)}?" if close else "GET /v1/models lists them."
    return ModelNotFound(f"There is no model {name[:100]!r}; {hint}", param="model")


def _is_allowed(served: ServedModel, limits: Limits) -> bool:
    if not served.provider or not allows(served.model.id, limits):
        return False
    return not limits.allowed_providers or served.provider in limits.allowed_providers
