"""One organisation's day through the code that serves: cache, decision, checks of answers, prompt caches of providers.

What answers is recorded: each model's measured quality, length and cost on the very question. Everything that decides
is the product's own: fingerprints, tier 1, tier 2, results of steps, the router's decision with its guard and its
memory of conversations, the edge's forecast of documents, the checks of a cascade. What every request would have cost
and been worth at the baseline model, with no cache but the provider's own, is counted beside it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

import numpy as np
import structlog

from asahi.auth.v1.auth_pb2 import Verdict
from asahi.cache.v1.cache_pb2 import CacheEntry
from asahi.router.v1.router_pb2 import Task
from asahi.type.v1.chat_pb2 import Answer, Api, ChatRequest, ContentPart, FinishReason, Prompt, ToolCall
from asahi.type.v1.routing_pb2 import Routing, RoutingPolicy
from asahi_cache.domain.semantic.equivalence import text_of
from asahi_cache.domain.semantic.similar import AskedQuestion
from asahi_cache.domain.tiers import Query
from asahi_core.clock import ManualClock
from asahi_core.prices.book import ModelPrice, Period, PriceBook
from asahi_core.prices.rates import Rates
from asahi_edge.domain.fingerprint import fingerprint
from asahi_edge.domain.inference import InferenceRequest
from asahi_edge.domain.prefixes import Prefixes
from asahi_edge.domain.similarity import in_chat
from asahi_edge.domain.step_request import step_request
from asahi_router.domain.candidates import Scale
from asahi_router.domain.checks import failed_check
from asahi_router.domain.conversations import Conversations
from asahi_router.domain.decision import Decider, Past, Ranking
from asahi_router.domain.escalation import Checks
from asahi_router.domain.estimate import TokenEstimator
from asahi_router.domain.evidence import TariffCosts
from asahi_router.domain.experience import Experience
from asahi_router.domain.features import Features, read_features
from asahi_router.domain.kinds import KINDS
from asahi_router.domain.learning.basis import Floats
from asahi_router.domain.learning.guard import guard_of
from asahi_router.domain.learning.learned import Measured, learn
from asahi_router.domain.lessons import Aim, Lesson
from asahi_router.domain.models import Catalog, CatalogModel, ServedModel
from asahi_router.domain.observations import Observations
from asahi_router.domain.tariffs import Tariffs
from asahi_router.evaluate.trial import Part
from bench.day_provider import Bill, Keeping, Provider, keeping_of
from bench.day_traffic import Kind, Question, Request
from bench.decision import Given
from services.cache.tests.tier_two import TierTwo

ORG = "org-1"
_SINCE = date(2020, 1, 1)
_DELTA = 0.01
_TTL_S = 86_400.0
_MILLION = 1_000_000
_WRONG_FORM = 0.1
"""Share of structured outputs at which a model other than the baseline misses the form; `tests/test_cascade.py`'s."""


class Technique(StrEnum):
    """What can be switched off."""

    EXACT = "cache: exact"
    SIMILAR = "cache: similar"
    STEPS = "cache: steps"
    ROUTING = "routing"
    PROMPTS = "prompt caching"
    CASCADE = "cascade"


class Taught(Experience):
    """An experience with what it learned given."""

    def __init__(self, costs: TariffCosts, clock: ManualClock, by_form: Lesson, by_meaning: Lesson | None) -> None:
        super().__init__(Given(()), costs, clock, structlog.get_logger(), most=1)
        self._by_form = by_form
        self._by_meaning = by_meaning

    def lesson(self, organization_id: str, embedding: bytes, *, common: bool = False) -> Lesson:
        """By meaning where there is an embedding, as `Experience.lesson`."""
        return self._by_meaning if self._by_meaning is not None and embedding else self._by_form


@dataclass(slots=True)
class Seen:
    """A question as the router saw it, and where its outcomes are."""

    row: int
    form: Sequence[float]
    asked_bytes: int
    embedding: bytes


@dataclass(frozen=True, slots=True)
class Organisation:
    """Whose day it is."""

    models: tuple[str, ...]
    baseline: str
    rates: Mapping[str, tuple[float, float]]
    """Dollars per input and output token."""
    epsilon: float
    longest: int
    """Characters of a question that tier 2 reads, and that is embedded for the router."""
    lessons: tuple[Lesson, Lesson | None] | None = None
    """By form and by meaning; None: yesterday is not over."""

    def book(self) -> PriceBook:
        """Its prices as the product has them."""
        prices = {}
        for model in self.models:
            asked, answered = (round(rate * 1e9 * _MILLION) for rate in self.rates[model])
            keeping = keeping_of(model) or Keeping(1.0)
            read, written = round(asked * keeping.read), round(asked * keeping.write)
            rates = Rates(asked, read, written, written, answered)
            prices[model] = ModelPrice("", None, (Period(_SINCE, ((-1, rates),)),))
        return PriceBook("recorded", prices)

    def catalog(self) -> Catalog:
        """Its models as the product has them. Their quality is that of their outcomes, none is known beforehand."""
        quality = dict.fromkeys(KINDS, 1.0)
        served = [
            ServedModel(
                CatalogModel(
                    model, "", 1_000_000, 8_192, quality, "", 500.0, 50.0, capabilities=("tools", "json_schema")
                ),
                "recorded",
                model,
                "anthropic" if (keeping_of(model) or Keeping(1.0)).asked else "openai",
            )
            for model in sorted(self.models)
        ]
        return Catalog(tuple(served), self.baseline, {}, {})


def lessons_of(seen: Sequence[Seen], part: Part, organisation: Organisation, seed: int) -> tuple[Lesson, Lesson | None]:
    """What yesterday taught: of every question the outcomes of all models, as in `asahi_router.evaluate`."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    costs = TariffCosts(organisation.book(), ManualClock(now))
    embedded = [one for one in seen if one.embedding]

    def lesson(these: Sequence[Seen], embeddings: Floats | None) -> Lesson:
        rows = np.array([one.row for one in these])
        _, questions = np.unique(part.questions[rows], return_inverse=True)
        table = part.table
        measured = Measured(
            table.models,
            np.array([one.form for one in these], np.float32),
            embeddings,
            table.quality[rows].astype(np.float32),
            table.output_tokens[rows].astype(np.float32),
            questions,
        )
        taught = learn(measured, np.random.default_rng(seed))
        made = Lesson(taught, np.array([one.asked_bytes for one in these], np.float32), (), ORG)
        expected = costs.expected(ORG, table.models, made.asked_bytes, taught.told)
        aim = Aim(organisation.baseline, organisation.epsilon)
        made.guards[aim] = guard_of(taught, expected, organisation.baseline, organisation.epsilon)
        return made

    vectors = np.frombuffer(b"".join(one.embedding for one in embedded), "<f4").reshape(len(embedded), -1)
    return lesson(seen, None), lesson(embedded, vectors) if embedded else None


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one question."""

    session: str
    kind: Kind
    quality: float
    baseline_quality: float
    cost: float
    baseline_cost: float
    saved: Mapping[Technique, float]
    """Dollars; together they are what the baseline would have cost more."""
    wrong_hit: bool = False
    """Answered from the cache with another question's answer."""


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer, and what it took."""

    answer: Answer
    quality: float
    cost: float
    saved: Mapping[Technique, float]


class Gateway:
    """The product, with some of its techniques switched on."""

    def __init__(self, organisation: Organisation, part: Part, on: frozenset[Technique], two: TierTwo) -> None:
        """`part`: the measured questions, by whose places requests name theirs."""
        clock = two.clock
        self._organisation = organisation
        self._part = part
        self._on = on
        self._two = two
        self.seen: list[Seen] = []
        """The questions that went to a model, where nobody has learned yet."""
        self._kept: dict[str, tuple[str, float]] = {}
        """By request whose answer is kept: what it asked, and the answer's quality."""
        self._number = 0
        self._ours, self._control = (Provider(part, organisation.rates, clock) for _ in range(2))
        self._prefixes, self._conversations, self._checks = Prefixes(clock), Conversations(clock), Checks()
        self._decider: Decider | None = None
        if organisation.lessons is not None:
            book, catalog = organisation.book(), organisation.catalog()
            speeds = Observations({served.model.id: served.model for served in catalog.models}, clock)
            scale = Scale(catalog, Tariffs(book, clock.now()), TokenEstimator(), speeds)
            taught = Taught(TariffCosts(book, clock), clock, *organisation.lessons)
            self._decider = Decider(
                scale, lambda _provider, _model: True, clock, Past(taught, self._conversations, self._checks)
            )

    async def day(self, requests: Sequence[Request]) -> list[Entry]:
        """Answers them at their times."""
        entries, now_s = [], 0.0
        for request in requests:
            self._two.clock.advance(request.at_s - now_s)
            now_s = request.at_s
            if request.workflow is None:
                key = fingerprint(ORG, Api.API_INFER, Routing(), {"chat": _bytes(request.chat)})
                entries.append((await self._ask(request, request.questions[0], request.chat, key, Technique.EXACT))[0])
            else:
                entries += await self._run(request)
        return entries

    async def _run(self, request: Request) -> list[Entry]:
        """The steps of a workflow, each after those that it reads."""
        workflow, entries = request.workflow, []
        assert workflow is not None
        texts = dict(workflow.given)
        whole = InferenceRequest(
            request_id="", api=Api.API_INFER, verdict=Verdict(organization_id=ORG), prompt=Prompt(), routing=Routing(),
            fingerprint=b"",
        )  # fmt: skip
        for step, question in zip(workflow.steps, request.questions, strict=True):
            asked = step_request(whole, workflow, step, texts, 0)
            reads_document = step is not workflow.answering
            before = (
                len(request.document.split()) if reads_document else sum(len(texts[n].split()) for n in step.inputs)
            )
            told = Request(request.at_s, Kind.STEP, (question,), request.session, prefix_tokens=before)
            entry, answer = await self._ask(told, question, asked.prompt.chat, asked.fingerprint, Technique.STEPS)
            texts[step.id] = text_of(answer)
            entries.append(entry)
        return entries

    async def _ask(
        self, request: Request, question: Question, chat: ChatRequest, key: bytes, exact: Technique
    ) -> tuple[Entry, Answer]:
        self._number += 1
        name = f"r{self._number}"
        baseline = self._organisation.baseline
        control = self._control.bill(baseline, question, request, asked_to_keep=False)
        similar = self._similar(chat, key, name)
        found, through = await self._two.cache.find(Query(ORG, key)) if exact in self._on else None, exact
        embedding = b""
        if found is None and similar is not None:
            through = Technique.SIMILAR
            finding = await self._two.similar.look_up(similar)
            found, embedding = finding.served, finding.embedding
        wrong = False
        if found is not None:
            kept = CacheEntry.FromString(found.entry)
            asked, quality = self._kept[kept.request_id]
            wrong = asked != _meaning(question.text)
            quality = 0.0 if wrong else quality
            given = _Given(kept.answer, quality, 0.0, {through: control.cost})
        else:
            given = self._answer(request, question, chat, embedding, control)
            self._kept[name] = _meaning(question.text), given.quality
            await self._keep(key, name, given.answer, similar)
        row, quality_of = question.row, self._part.table.quality
        usual = float(quality_of[row, self._part.table.models.index(baseline)])
        entry = Entry(request.session, request.kind, given.quality, usual, given.cost, control.cost, given.saved, wrong)
        return entry, given.answer

    def _similar(self, chat: ChatRequest, key: bytes, name: str) -> AskedQuestion | None:
        """What tier 2 is asked; without it on it serves nothing, and only the question's embedding is made."""
        isolated = in_chat(chat)
        if isolated is None or len(isolated.text) > self._organisation.longest:
            return None
        scope = fingerprint(ORG, Api.API_INFER, Routing(), isolated.rest)
        bound = _DELTA if Technique.SIMILAR in self._on else 0.0
        return AskedQuestion(ORG, key, scope, isolated.text, name, bound, embedding_wanted=True, max_age_s=None)

    async def _keep(self, key: bytes, name: str, answer: Answer, similar: AskedQuestion | None) -> None:
        kept = CacheEntry(reference_model=self._organisation.baseline, request_id=name, answer=answer, user_id="ann")
        kept.created_at.FromNanoseconds(int(self._two.clock.now().timestamp() * 1e9))
        await self._two.cache.store(ORG, key, kept, _TTL_S)
        if similar is not None and similar.false_hit_bound:
            self._two.similar.learn(similar, kept, _TTL_S)
            await self._two.similar.settled()

    def _answer(
        self, request: Request, question: Question, chat: ChatRequest, embedding: bytes, control: Bill
    ) -> _Given:
        """By a model; the answer of a cheaper one is checked first."""
        asked_to_keep = False
        if request.kind is Kind.DOCUMENT and Technique.PROMPTS in self._on:
            asked_to_keep = self._prefixes.see(ORG, hashlib.sha256(request.document.encode()).digest()).is_kept
        prompt = Prompt()
        prompt.chat.CopyFrom(chat)
        prompt.chat.cache_prefix = asked_to_keep
        features = read_features(prompt)
        if self._decider is None:
            self.seen.append(Seen(question.row, features.form, features.asked_bytes, embedding))
        ranking = self._decide(prompt, embedding)
        model = ranking.decision.model if ranking is not None else self._organisation.baseline
        first = bill = self._ours.bill(model, question, request, asked_to_keep=asked_to_keep)
        answer, quality = self._said(model, question, chat)
        more = 0.0
        if ranking is not None and Technique.CASCADE in self._on:
            betters = iter(ranking.better_than(model))
            while self._fails(prompt, features, model, answer) and (better := next(betters, None)) is not None:
                model = better.model
                answer, quality = self._said(model, question, chat)
                bill = self._ours.bill(model, question, request, asked_to_keep=asked_to_keep)
                more += bill.cost
        if Technique.PROMPTS in self._on:
            self._conversations.answered(ORG, features.thread, model, features.asked_bytes)
        saved = {
            Technique.ROUTING: control.full - first.full,
            Technique.PROMPTS: first.discount - control.discount,
            Technique.CASCADE: -more,
        }
        return _Given(answer, quality, first.cost + more, saved)

    def _fails(self, prompt: Prompt, features: Features, model: str, answer: Answer) -> bool:
        failed = bool(failed_check(prompt, answer, limited=False))
        self._checks.checked(ORG, model, features, failed=failed)
        return failed

    def _decide(self, prompt: Prompt, embedding: bytes) -> Ranking | None:
        if self._decider is None or Technique.ROUTING not in self._on:
            return None
        policy = RoutingPolicy(
            baseline_model=self._organisation.baseline, epsilon=self._organisation.epsilon, quality_floor=0.0
        )
        task = Task(organization_id=ORG, request_id="r", prompt=prompt, policy=policy, prompt_embedding=embedding)
        return self._decider.decide(task, explain=False)

    def _said(self, model: str, question: Question, chat: ChatRequest) -> tuple[Answer, float]:
        """What a model answers, and how good that is; an answer that misses the form which was asked for is worth 0."""
        table = self._part.table
        column = table.models.index(model)
        quality, length = float(table.quality[question.row, column]), int(table.output_tokens[question.row, column])
        number = _number(f"{_meaning(question.text)} {quality}")
        answer = Answer(model=model, provider="recorded", finish_reason=FinishReason.FINISH_REASON_STOP)
        if not chat.response_format_json:
            answer.chat.parts.add().text = f"The answer is number {number}." + " word" * max(0, length - 5)
            return answer, quality
        misses = model != self._organisation.baseline and _number(f"{question.text} {model}") < _WRONG_FORM * 2**32
        if chat.tools:
            arguments = "{" if misses else "{}"
            answer.chat.parts.append(
                ContentPart(tool_call=ToolCall(id="t", name=chat.tools[0].name, arguments_json=arguments))
            )
        else:
            answer.chat.parts.add().text = json.dumps({} if misses else {"answer": number})
        return answer, 0.0 if misses else quality


def _bytes(chat: ChatRequest) -> bytes:
    return chat.SerializeToString(deterministic=True)


def _meaning(text: str) -> str:
    """Equal where an answer surely serves both: the same letters and digits in the same order, courtesies left out."""
    bare = "".join(character for character in text.casefold() if character.isalnum())
    return bare.removeprefix("hello").removesuffix("thanks")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
