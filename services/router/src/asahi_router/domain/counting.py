"""How many tokens a question has: counted by the provider of the model that would answer it, else estimated."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from asahi.router.v1 import router_pb2 as pb
from asahi_router.domain.completion_ports import Choice
from asahi_router.domain.estimate import TokenEstimator, prompt_bytes
from asahi_router.domain.failures import Setback, final_error
from asahi_router.domain.provider import FailureKind, ProviderCall, ProviderFailure

_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class TokenCount:
    """What a provider counted."""

    input_tokens: int
    answer_json: bytes
    """The provider's own words."""


class Chooser(Protocol):
    """Knows which model would answer."""

    def would_answer(self, task: pb.Task) -> Choice:
        """That model; raises AsahiError if there is none."""
        ...


class Counter(Protocol):
    """A provider that may be able to count."""

    async def count_tokens(self, call: ProviderCall) -> TokenCount | None:
        """The tokens of a question; None: it does not count beforehand, or not what is asked in that protocol.

        Raises:
            ProviderFailure: it should, and did not.
        """
        ...


class TokenCounts:
    """Counts tokens."""

    def __init__(self, chooser: Chooser, counters: Mapping[str, Counter], estimator: TokenEstimator) -> None:
        """`counters` by the id of the provider."""
        self._chooser = chooser
        self._counters = counters
        self._estimator = estimator

    async def count(self, task: pb.Task) -> pb.CountTokensResponse:
        """The tokens of the task's prompt; raises AsahiError as a completion of it would."""
        choice = self._chooser.would_answer(task)
        call = ProviderCall(task.request_id, 0, choice.model, choice.provider_model, task.prompt, stream=False)
        told = pb.CountTokensResponse(model=choice.model, provider=choice.provider)
        try:
            async with asyncio.timeout(_LONGEST_S):
                counted = await self._counters[choice.provider].count_tokens(call)
        except ProviderFailure as failure:
            setback = Setback(choice.model, choice.provider, failure, failure.retry_after_s)
            raise final_error([setback], explicit=True) from failure
        except TimeoutError as error:
            late = ProviderFailure(FailureKind.TIMED_OUT, "it did not answer in time")
            raise final_error([Setback(choice.model, choice.provider, late)], explicit=True) from error
        if counted is None:
            told.input_tokens = self._estimator.input_tokens(choice.model, prompt_bytes(task.prompt))
            told.estimated = True
        else:
            told.input_tokens, told.answer_json = counted.input_tokens, counted.answer_json
        return told
