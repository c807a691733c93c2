"""The completion of a flight under way."""

import asyncio
from dataclasses import dataclass, field

from asahi.cache.v1.cache_pb2 import SemanticQuestion, SemanticVerdict
from asahi.router.v1.router_pb2 import Attempt, AttemptOutcome, Decision
from asahi_core.errors import AsahiError
from asahi_edge.domain.flights import Flight
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.ports import Completion


@dataclass(slots=True)
class FlightCall:
    """The completion of a flight under way."""

    flight: Flight
    request: InferenceRequest
    flight_id: str
    completion: Completion
    decision: Decision | None = None
    attempt: Attempt | None = None
    """The provider call under way; None: none is."""
    failed: list[AttemptOutcome] = field(default_factory=list)
    budgeted: bool = False
    """Whether each provider call needs a hold, and waits for it."""
    refused: AsahiError | None = None
    """Why the last announced call must not be made; None: nothing speaks against it."""
    unmade: int = 0
    """Number of the announced call that was not let begin; 0: none."""
    asked_to_keep: bool = False
    """Whether Asahi asks for the question's beginning to be kept by the provider."""
    note: str = ""
    """What the reason of the decision says besides; empty: nothing."""
    added_max_output_tokens: int = 0
    degraded: tuple[str, ...] = ()
    semantic: SemanticQuestion | None = None
    """What tier 2 finds the answer by later; None: it does not."""
    semantic_verdict: SemanticVerdict | None = None
    draining: asyncio.TimerHandle | None = None
    given_up: bool = False
    ended: bool = False
    stored: bool = False
    """Whether the cache has the answer, and so knows that the flight has ended."""
