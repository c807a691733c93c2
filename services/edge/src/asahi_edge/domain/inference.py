"""What goes into the pipeline and what comes out of it, whichever API was called."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.cache.v1.cache_pb2 import SemanticQuestion, SemanticVerdict
from asahi.router.v1.router_pb2 import AttemptOutcome, Candidate
from asahi.type.v1.chat_pb2 import Answer, Api, ChatAnswer, Prompt
from asahi.type.v1.routing_pb2 import Routing, RoutingMode
from asahi_edge.domain.budgets import is_blocked_by_budget
from asahi_edge.domain.charge import Charge
from asahi_edge.domain.similarity import Similarity
from asahi_edge.domain.workflow import Workflow

STEP_TIER = 3
ATTEMPTS_OF_A_STEP = 1000
"""More than the router makes for one completion."""


def answer_text(answer: ChatAnswer) -> str:
    """What the model said in text; a refusal is text too."""
    return "".join(part.text or part.refusal for part in answer.parts)


@dataclass(frozen=True, slots=True)
class CacheDirectives:
    """What the caller allows the cache to do."""

    read: bool = True
    write: bool = True
    max_age_s: float | None = None
    """Oldest answer accepted; None: any that has not expired."""
    ttl_s: float | None = None
    """How long the answer may be kept; None: as the cache service does."""
    similar: bool = True
    """Whether the answer to a similar question will do."""


@dataclass(frozen=True, slots=True)
class StepPlace:
    """Which step of the caller's request, whose id it bears, a request is."""

    number: int
    """From 1; unique within the caller's request."""
    answers: bool
    """Whether its answer is the answer to the caller's request."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """A request that is authenticated and understood."""

    request_id: str
    api: Api.ValueType
    verdict: Verdict
    prompt: Prompt
    routing: Routing
    fingerprint: bytes
    """SHA-256 over everything that can change the answer (`domain.fingerprint`)."""
    cache: CacheDirectives = field(default_factory=CacheDirectives)
    similarity: Similarity | None = None
    """How its question is compared with others; None: it is not."""
    stream: bool = False
    """Whether the caller wants the answer piece by piece."""
    user_id: str = ""
    task_id: str = ""
    document_id: str = ""
    """The caller's name of the document that the question is about; empty: none."""
    prefix: bytes = b""
    """Digest of the document that its last message begins with, and of what is before it; empty: none."""
    tags: Mapping[str, str] = field(default_factory=dict)
    explain: bool = False
    parts: tuple[bytes, ...] = ()
    """Fingerprints under which the parts of its answer are kept, in their order; empty: it is kept whole."""
    workflow: Workflow | None = None
    """The steps in which it is to be answered; None: by itself."""
    step: StepPlace | None = None
    """None: it is what the caller asked."""
    kind: str = ""
    """The kind of work as the caller calls it; empty: it is recognised."""

    @property
    def passenger_id(self) -> str:
        """Who waits for a flight: unique among all steps of all requests."""
        return f"{self.request_id}/{self.step.number}" if self.step is not None else self.request_id

    @property
    def first_attempt(self) -> int:
        """Number of its first provider call: no two steps of a request use the same numbers."""
        return (self.step.number - 1) * ATTEMPTS_OF_A_STEP + 1 if self.step is not None else 1

    @property
    def answers_caller(self) -> bool:
        """Whether the caller gets its answer."""
        return self.step is None or self.step.answers

    @property
    def exact_tier(self) -> int:
        """The cache tier by which a hit on it is told."""
        return STEP_TIER if self.step is not None else 1

    @property
    def organization_id(self) -> str:
        """The organisation that asks and pays."""
        return self.verdict.organization_id

    @property
    def is_blocked_by_budget(self) -> bool:
        """Whether a budget that blocks applies to its provider calls."""
        return is_blocked_by_budget(self.verdict, self.tags)

    def semantic_question(self, most_characters: int) -> SemanticQuestion | str:
        """What tier 2 is asked, and keeps the answer by; a sentence: it has no part in this request, and why.

        Its embedding is wanted wherever the router has a choice.
        """
        if self.similarity is None or self.step is not None or self.workflow is not None:
            return ""
        if not (self.cache.read and self.cache.write and self.cache.similar):
            return "Similar questions were not looked for: the caller or the policy (cache.tiers) leaves tier 2 out."
        question = self.similarity.question(self.request_id, most_characters)
        if isinstance(question, SemanticQuestion):
            question.embedding_wanted = self.routing.mode != RoutingMode.ROUTING_MODE_EXPLICIT
        return question

    @property
    def flight_key(self) -> bytes:
        """Equal for requests one provider call can answer at the same time; empty: it wants a call of its own.

        Beside the fingerprint it covers what limits the choice of a model, and how old an answer may be.
        """
        if not (self.cache.read and self.cache.write) or self.explain:
            return b""
        identity = hashlib.sha256(self.fingerprint)
        identity.update(self.routing.SerializeToString(deterministic=True))
        identity.update(f"{self.verdict.policy_version} {list(self.verdict.allowed_models)}".encode())
        identity.update(repr((self.cache.max_age_s, self.cache.similar)).encode())
        if self.is_blocked_by_budget:
            identity.update(b"budget")  # its answer may be shorter
        return identity.digest()


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """An answer with what it cost, what it would have cost, and why this model."""

    answer: Answer
    charge: Charge
    reason: str
    cache_tier: int
    """The tier that answered; 0: a provider did."""
    coalesced: bool
    """Whether the answer came from a call that another request had under way."""
    age_s: float
    """Age of a cached answer; 0 on a miss."""
    bypassed_cache: bool
    """Whether the caller asked that the cache be left aside."""
    latency_ms: float
    overhead_ms: float
    """The part of `latency_ms` that no provider took."""
    attempts: tuple[AttemptOutcome, ...] = ()
    alternatives: tuple[Candidate, ...] = ()
    degraded: tuple[str, ...] = ()
    """Names of the services that were left aside because they did not answer."""
    steps: "tuple[tuple[str, InferenceResult], ...]" = ()
    """Of a workflow, by the steps' ids in their order."""
    semantic: SemanticVerdict | None = None
    """What tier 2 found; None: it was not asked, or no answer of it is known."""
    added_max_output_tokens: int = 0
    """Most tokens of the answer, where the question set no limit and the policy did; 0: nothing was added."""

    @property
    def reused(self) -> bool:
        """Whether no provider was called for this request."""
        return self.cache_tier > 0 or self.coalesced

    @property
    def techniques(self) -> list[str]:
        """The techniques that made this answer cheaper."""
        return [technique for technique, _ in self.charge.savings]
