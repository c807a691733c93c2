"""What a provider call says about its model and provider: health, speed, and how their tokens are counted."""

from structlog.typing import FilteringBoundLogger

from asahi_router.domain.attempts import Ended
from asahi_router.domain.breaker import Breakers
from asahi_router.domain.completion_ports import Choice, Observations
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.failures import outcome_code
from asahi_router.domain.provider import FailureKind, ProviderFailure

_BLAMELESS = frozenset({FailureKind.REFUSED})


class CallLessons:
    """Learns from calls, whatever they were made for."""

    def __init__(
        self, breakers: Breakers, observations: Observations, estimator: TokenEstimator, log: FilteringBoundLogger
    ) -> None:
        self._breakers = breakers
        self._observations = observations
        self._estimator = estimator
        self._log = log

    def learn(self, choice: Choice, ended: Ended, asked_bytes: int) -> None:
        """Takes a call that has ended; `asked_bytes`: the size of its prompt."""
        provider, model = choice.provider, choice.model
        if ended.answer is not None:
            self._breakers.succeeded(provider, model)
            if ended.begun:
                self._breakers.streamed(provider)
            outcome = ended.outcome
            first_ms = outcome.first_token_ms if outcome.HasField("first_token_ms") else None
            usage, whole_ms = outcome.usage, outcome.duration_ms
            self._observations.observed(model, first_ms, usage.output_tokens - usage.reasoning_tokens, whole_ms)
            if not ended.estimated:
                answering_ms = whole_ms - (ended.received.sent_after_ms or 0.0)
                self._estimator.learn(
                    model, asked_bytes, usage, ended.received, duration_ms=answering_ms, silent_ms=ended.silent_ms
                )
        elif isinstance(ended.cause, ProviderFailure) and ended.cause.kind not in _BLAMELESS and ended.to_blame:
            alone_s = self._breakers.failed(provider, model, ended.cause.retry_after_s)
            if alone_s is not None:
                code = outcome_code(ended.cause)
                self._log.warning("model_left_alone", provider=provider, model=model, code=code, seconds=alone_s)
            if ended.begun:
                self._breakers.broken_off(provider)
        else:
            self._breakers.abandoned(provider, model)
        if isinstance(ended.cause, ProviderFailure) and ended.cause.kind == FailureKind.TIMED_OUT and not ended.begun:
            self._observations.silent(model, ended.silent_ms)
