"""What is known about how good answers were; later decisions learn from it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from asahi.router.v1.router_pb2 import RecordOutcomeRequest
from asahi_core.clock import Clock
from asahi_core.errors import InvalidRequest

MAX_COMMENT = 2000
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """One source's last word on one answer."""

    organization_id: str
    request_id: str
    source: str
    """Id of the key that says so."""
    model: str
    """Catalog id of the model that answered."""
    task_type: str
    """The kind of work; empty: unknown."""
    score: float | None
    """0 to 1; None: not said."""
    correct_cache_hit: bool | None
    """Whether a stored answer served the question; None: not said."""
    comment: str
    recorded_at: datetime
    user_id: str = ""
    """The end user who was answered; empty: unknown."""


class OutcomeStore(Protocol):
    """Keeps outcomes."""

    async def record(self, outcome: Outcome) -> None:
        """Keeps it, durably, in the place of what the same source said of the same request before.

        Raises:
            ServiceUnavailable: the store cannot be reached.
        """
        ...

    async def of_request(self, organization_id: str, request_id: str) -> list[Outcome]:
        """What was said of a request, by source."""
        ...


class Outcomes:
    """Takes outcomes in."""

    def __init__(self, store: OutcomeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def record(self, request: RecordOutcomeRequest) -> None:
        """Keeps the outcome.

        Raises:
            InvalidRequest: it says nothing, or what cannot be.
            ServiceUnavailable: the store cannot be reached.
        """
        _check(request)
        await self._store.record(
            Outcome(
                organization_id=request.organization_id,
                request_id=request.request_id,
                source=request.source,
                model=request.model,
                task_type=request.task_type,
                score=request.score if request.HasField("score") else None,
                correct_cache_hit=request.correct_cache_hit if request.HasField("correct_cache_hit") else None,
                comment=request.comment,
                recorded_at=self._clock.now(),
                user_id=request.user_id,
            )
        )


def _check(request: RecordOutcomeRequest) -> None:
    for name in ("organization_id", "request_id", "model", "source"):
        if not 0 < len(getattr(request, name)) <= _MAX_NAME:
            raise InvalidRequest(f"'{name}' must have 1 to {_MAX_NAME} characters.", param=name)
    if len(request.task_type) > _MAX_NAME:
        raise InvalidRequest(f"'task_type' must have at most {_MAX_NAME} characters.", param="task_type")
    if request.HasField("score") and not 0 <= request.score <= 1:
        raise InvalidRequest("'score' must be 0 to 1.", param="score")
    if len(request.comment) > MAX_COMMENT:
        raise InvalidRequest(f"'comment' must have at most {MAX_COMMENT} characters.", param="comment")
    if not (request.HasField("score") or request.HasField("correct_cache_hit") or request.comment):
        raise InvalidRequest("An outcome needs a 'score', 'correct_cache_hit' or a 'comment'.", param="score")
