"""Answered questions, what is known of how good the answers were, and who keeps both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from asahi_router.domain.form import Form
from asahi_router.domain.signals import Answers

_BESIDE_TRUSTED = 0.1
"""More than the chance of the baseline beside a model that is trusted."""


@dataclass(frozen=True, slots=True)
class Chance:
    """How likely it was that a model answers, where Asahi chose it and no quality was asked for."""

    baseline: str
    """Catalog id of the model that was to be stood in for."""
    propensity: float = 1.0
    """With which the model that answered was drawn, more than 0."""
    least: float = 0.0
    """With which each other one was, of those that exploration draws among; 0: none could be."""
    among: str = ""
    """The only other one that could be; empty: any of them."""

    @property
    def on_trial(self) -> bool:
        """Whether a model was on trial there: either had a good chance. What that loses is meant, and has an end."""
        return bool(self.among) and min(self.propensity, self.least) > _BESIDE_TRUSTED

    def least_of(self, model: str) -> float:
        """With which a model that did not answer was drawn; 0: it could not be."""
        return self.least if self.among in ("", model) else 0.0


@dataclass(frozen=True, slots=True)
class Example:
    """A question that was answered."""

    organization_id: str
    request_id: str
    """Of an answer that was not given: with `/` and the number of its attempt."""
    model: str
    """Catalog id of the model that answered."""
    form: Form
    embedding: bytes
    """384 little-endian float32; empty: not known."""
    asked_bytes: int
    output_tokens: int
    answered_at: datetime
    user_id: str = ""
    """The end user who was answered; empty: unknown, as in all that is read back: the memory names nobody."""
    chance: Chance | None = None
    """None: nothing was drawn or decided by the guard: the caller named the model, or asked for a quality."""
    signal: str = ""
    """One of `domain.signals.SCORES`: what the call says against the answer; empty: nothing."""
    shared: bool = False
    """Whether its organisation shared its outcomes with others then."""


@dataclass(frozen=True, slots=True)
class Judged:
    """An example, and how good its answer was."""

    example: Example
    score: float
    """0 to 1, the mean over those who said so."""
    judged_at: datetime
    """When the last of them did."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question, compared: that of `example`, which nobody got, and the one that was given."""

    example: Example
    given_model: str
    """Catalog id of the model whose answer was given."""
    given_tokens: int
    """Of that answer."""
    difference: float
    """How much better the answer of `example` is, -1 to 1; 0: they are alike."""
    judge: str
    """Who says so: `local`, or a catalog id."""


class ExampleStore(Protocol):
    """Keeps examples beside outcomes."""

    async def keep(self, examples: Sequence[Example]) -> None:
        """Keeps them, but what was answered before something was erased of the organisation: it may be what was erased.

        Raises:
            ServiceUnavailable: the store cannot be reached.
        """
        ...

    async def judged(self, since: datetime, most: int, organization_id: str = "") -> list[Judged]:
        """Those of an organisation, or (empty) of all, that somebody judged at `since` or later, the earliest first.

        Raises as `keep` does.
        """
        ...

    async def signalled(self, since: datetime, most: int, organization_id: str = "") -> list[Example]:
        """Those answered then or later with a signal that nobody judged, of an organisation, or (empty) of all.

        The earliest first. Raises as `keep` does.
        """
        ...

    async def keep_pairs(self, pairs: Sequence[Pair]) -> None:
        """Keeps compared answers, as `keep` does. Raises as it does."""
        ...

    async def pairs(self, since: datetime, most: int, organization_id: str = "") -> list[Pair]:
        """Those answered then or later, of an organisation, or (empty) of all, the earliest first. Raises as `keep`."""
        ...

    async def signal(self, organization_id: str, request_id: str, signal: str) -> None:
        """Notes a signal of an answer that has none. Raises as `keep` does."""
        ...

    async def answers(self, organization_id: str, since: datetime) -> list[Answers]:
        """How many answers an organisation got then or later, by model. Raises as `keep` does."""
        ...

    async def withdraw(self, organization_id: str, at: datetime) -> None:
        """Shares nothing of an organisation any more; noted as an erasure is. Raises as `keep` does."""
        ...

    async def erasures(self) -> Mapping[str, datetime]:
        """When something was erased last, by organisation. Raises as `keep` does."""
        ...

    async def forget_unjudged(self, before: datetime) -> None:
        """Drops what was answered before that and neither judged nor compared. Raises as `keep` does."""
        ...
