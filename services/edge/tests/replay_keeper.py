"""The cache service as tests script it, as far as it keeps what became of requests that are made once."""

from asahi.cache.v1.cache_pb2 import BeginReplayResponse, ReplayedAnswer
from asahi_core.errors import AsahiError, IdempotencyConflict, IdempotencyReplayUnavailable
from asahi_edge.domain.replays import Claim


class MemoryReplays:
    """Keeps replays without time: a lease never ends."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, str, str], Claim] = {}
        self.answers: dict[tuple[str, str, str], ReplayedAnswer | None] = {}
        """None: it was made, and its answer is not kept."""
        self.failure: AsahiError | None = None

    async def begin_replay(self, claim: Claim, lease_s: float) -> BeginReplayResponse:
        if self.failure is not None:
            raise self.failure
        known = self.claims.setdefault(claim.name, claim)
        if known.body_digest != claim.body_digest:
            raise IdempotencyConflict("It was another body.")
        if claim.name not in self.answers:
            begun = known.request_id == claim.request_id
            return BeginReplayResponse(begun=True) if begun else BeginReplayResponse(under_way=True)
        answer = self.answers[claim.name]
        if answer is None:
            raise IdempotencyReplayUnavailable("It is not kept.")
        return BeginReplayResponse(answer=answer)

    async def end_replay(self, claim: Claim, answer: ReplayedAnswer | None, *, free: bool) -> None:
        if self.failure is not None:
            raise self.failure
        if free:
            del self.claims[claim.name]
        else:
            self.answers[claim.name] = answer
