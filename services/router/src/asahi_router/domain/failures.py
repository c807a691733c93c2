"""What failed provider calls mean: to the breaker, to the next try, and to the caller when none is left."""

from collections.abc import Sequence
from dataclasses import dataclass

from asahi_core.errors import (
    AsahiError,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    ProviderError,
    ServiceUnavailable,
    UnsupportedByModel,
    UpstreamInterrupted,
)
from asahi_router.domain.provider import FailureKind, ProviderFailure

_CODES: dict[FailureKind, type[AsahiError]] = {
    FailureKind.REFUSED: InvalidRequest,
    FailureKind.UNAUTHORIZED: ProviderError,
    FailureKind.RATE_LIMITED: Overloaded,
    FailureKind.OVERLOADED: Overloaded,
    FailureKind.FAILED: ProviderError,
    FailureKind.UNREACHABLE: ServiceUnavailable,
    FailureKind.TIMED_OUT: DeadlineExceeded,
    FailureKind.INTERRUPTED: UpstreamInterrupted,
}
_WORDS: dict[FailureKind, str] = {
    FailureKind.REFUSED: "refused the request",
    FailureKind.UNAUTHORIZED: "does not accept the operator's key",
    FailureKind.RATE_LIMITED: "takes no more requests at the moment",
    FailureKind.OVERLOADED: "is overloaded",
    FailureKind.FAILED: "failed",
    FailureKind.UNREACHABLE: "cannot be reached",
    FailureKind.TIMED_OUT: "did not answer in time",
    FailureKind.INTERRUPTED: "broke its answer off",
}
_RETRIED = frozenset(
    {
        FailureKind.RATE_LIMITED,
        FailureKind.OVERLOADED,
        FailureKind.FAILED,
        FailureKind.UNREACHABLE,
        FailureKind.INTERRUPTED,
    }
)
_SATURATED = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})
_UNAVAILABLE = _SATURATED | {FailureKind.UNREACHABLE, FailureKind.TIMED_OUT}
_UNSHOWN = frozenset({FailureKind.UNAUTHORIZED, FailureKind.UNREACHABLE, FailureKind.TIMED_OUT})
_RETRY_AFTER_S = 1.0

Cause = ProviderFailure | AsahiError


@dataclass(frozen=True, slots=True)
class Setback:
    """A model that did not answer. `cause`: None: its breaker is open, it was not asked."""

    model: str
    provider: str
    cause: Cause | None
    retry_after_s: float | None = None


def outcome_code(cause: Cause) -> str:
    """The code that a failed attempt is told with."""
    return _CODES[cause.kind].code if isinstance(cause, ProviderFailure) else cause.code


def is_billed(cause: Cause | None) -> bool:
    """Whether the provider will bill a call that ended so; None: it was given up.

    An error status, or no connection, costs nothing. A provider that was still silent when its time was up is taken
    to have read the prompt.
    """
    if isinstance(cause, ProviderFailure):
        return cause.received is not None or cause.kind == FailureKind.TIMED_OUT
    return cause is None or isinstance(cause, Cancelled | DeadlineExceeded)


def may_retry(cause: Cause) -> bool:
    """Whether the same model might answer if it is asked again."""
    return isinstance(cause, ProviderFailure) and cause.kind in _RETRIED


def may_fall_back(cause: Cause) -> bool:
    """Whether another model might answer."""
    return isinstance(cause, ProviderFailure | UnsupportedByModel)


def final_error(setbacks: Sequence[Setback], *, explicit: bool) -> AsahiError:
    """What a caller is told when nobody answered; `explicit`: the caller named the model."""
    kinds = [_kind(setback) for setback in setbacks]
    last = setbacks[-1].cause
    if isinstance(last, UnsupportedByModel) and all(isinstance(s.cause, UnsupportedByModel) for s in setbacks):
        return last
    if isinstance(last, ProviderFailure) and last.kind == FailureKind.REFUSED and explicit:
        return InvalidRequest(_sentence(setbacks[-1]), param=last.param)
    message = " ".join(dict.fromkeys(_sentence(setback) for setback in setbacks))
    if all(kind is None or kind in _UNAVAILABLE for kind in kinds):
        pauses = [setback.retry_after_s for setback in setbacks if setback.retry_after_s is not None]
        saturated = all(kind in _SATURATED for kind in kinds)
        unavailable = Overloaded if saturated else ServiceUnavailable
        return unavailable(f"{message} Try again shortly.", retry_after_s=min(pauses, default=_RETRY_AFTER_S))
    return ProviderError(message)


def interrupted(model: str, provider: str, cause: Cause) -> UpstreamInterrupted:
    """What a caller who got part of an answer is told."""
    return UpstreamInterrupted(_sentence(Setback(model, provider, cause)))


def _kind(setback: Setback) -> FailureKind | str | None:
    """None: not asked; empty: no failure of the provider."""
    if setback.cause is None:
        return None
    return setback.cause.kind if isinstance(setback.cause, ProviderFailure) else ""


def _sentence(setback: Setback) -> str:
    who, cause = f"{setback.model} at {setback.provider}", setback.cause
    if cause is None:
        return f"{who} was not asked: it failed too often lately."
    if isinstance(cause, AsahiError):
        return f"{who}: {cause.message}"
    if cause.kind in _UNSHOWN or not cause.message:
        return f"{who} {_WORDS[cause.kind]}."
    return f"{who} {_WORDS[cause.kind]}: {cause.message.rstrip('.')}."
