"""Tier 2 as a whole in one process, with the embedded store and a database, for tests and rigs."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from asahi_cache.domain.cache import AnswerCache
from asahi_cache.domain.embedding import LOCAL_DIMENSIONS, Embedded, Embedder
from asahi_cache.domain.semantic.equivalence import shipped_judge
from asahi_cache.domain.semantic.evidence_log import Evidence
from asahi_cache.domain.semantic.neighbours import VectorStore
from asahi_cache.domain.semantic.similar import AskedQuestion, Finding, SimilarAnswers
from asahi_cache.domain.semantic.verifier import shipped_verifier
from asahi_cache.stores.evidence import SqlEvidenceStore
from asahi_cache.stores.guarded_questions import GuardedQuestions
from asahi_cache.stores.memory import MemoryTier
from asahi_cache.stores.opening import open_database
from asahi_cache.wiring import open_questions
from asahi_core.clock import ManualClock
from services.cache.tests.builders import digest, entry

ORG, SCOPE = "org-1", b"s" * 32
LOOSE = 0.3
"""A bound that a few clean audits prove."""


class BagOfWords:
    """An embedder whose vectors are near where words are the same."""

    model = "words"
    dimensions = LOCAL_DIMENSIONS

    def __init__(self) -> None:
        self.embedded = 0
        self.delay_s = 0.0

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        await asyncio.sleep(self.delay_s)
        self.embedded += len(texts)
        rows = np.zeros((len(texts), LOCAL_DIMENSIONS), dtype=np.float32)
        for at, text in enumerate(texts):
            for word in text.lower().split() or [""]:
                seed = int.from_bytes(hashlib.sha256(word.strip("?.!").encode()).digest()[:4], "big")
                rows[at] += np.random.default_rng(seed).normal(size=LOCAL_DIMENSIONS)
        vectors: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return vectors

    async def read(self, texts: Sequence[str]) -> Embedded:
        return Embedded(await self.embed(texts), [1] * len(texts), [False] * len(texts))


def asked(number: int, text: str) -> AskedQuestion:
    return AskedQuestion(
        organization_id=ORG,
        fingerprint=digest(number),
        scope=SCOPE,
        text=text,
        request_id=f"r-{number}",
        false_hit_bound=LOOSE,
        embedding_wanted=False,
        max_age_s=None,
    )


@dataclass
class TierTwo:
    """Tier 2 over a tier 1 in memory."""

    similar: SimilarAnswers
    cache: AnswerCache
    evidence: Evidence
    questions: VectorStore
    clock: ManualClock
    number: int = 0
    look_ups_s: list[float] = field(default_factory=list)
    """CPU seconds of each look-up, its reading included."""

    async def ask(self, text: str, answer: str | None = None, **changed: object) -> Finding:
        """Looks up; where that finds nothing and there is an `answer`, a provider gives it and it is learnt."""
        self.number += 1
        question = replace(asked(self.number, text), **changed)  # type: ignore[arg-type]
        began = time.process_time()
        finding = await self.similar.look_up(question)
        self.look_ups_s.append(time.process_time() - began)
        if finding.served is None and answer is not None:
            given = entry(answer, request_id=question.request_id, given_at_s=self.clock.now().timestamp())
            given.user_id = str(changed.get("user_id", "")) or "ann"
            await self.cache.store(question.organization_id, question.fingerprint, given, 3600.0)
            self.similar.learn(question, given, 3600.0)
            await self.similar.settled()
        return finding


@asynccontextmanager
async def tier_two(
    folder: Path,
    random: Callable[[], float] = lambda: 0.99,
    url: str = "",
    embedder: Embedder | None = None,
    shared_by: AbstractSet[str] = frozenset(),
) -> AsyncIterator[TierTwo]:
    """`random` at 0.99: nothing that may be served is audited. `embedder`: `BagOfWords` if None."""

    async def withdraw(_organization_id: str, _fingerprint: bytes) -> None:
        return None

    clock = ManualClock()
    memory = MemoryTier(clock, max_bytes=10**8, organization_share=1.0)
    cache = AnswerCache(
        [memory], default_ttl_s=3600, max_entry_bytes=10**6, random=lambda: 0.0, withdraw=withdraw, clock=clock
    )
    database = open_database(folder, url)
    evidence = Evidence(SqlEvidenceStore(database), "rule", shipped_judge().misses, random, clock, shared_by=shared_by)
    questions = GuardedQuestions(open_questions(folder, "", ""), 5.0, structlog.testing.CapturingLogger())
    similar = SimilarAnswers(
        store=questions,
        embedder=embedder or BagOfWords(),
        answers=cache.find,
        evidence=evidence,
        verifier=shipped_verifier(),
        judge=shipped_judge(),
        clock=clock,
        embed_s=5.0,
        trouble=questions.trouble,
    )
    learning = asyncio.create_task(similar.run())
    try:
        yield TierTwo(similar, cache, evidence, questions, clock)
    finally:
        learning.cancel()
        await questions.close()
        await asyncio.to_thread(database.close)
