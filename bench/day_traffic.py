"""A gateway's day made of measured questions: what is asked when, in which form, how often the same.

Questions come from a folder of measured outcomes; what surrounds them (repeats, conversations, documents, steps, forms
of answers) is made up here, in the shares that `Shares` states.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate
from random import Random

from asahi.type.v1.chat_pb2 import ChatRequest, ContentPart, Message, Role, Tool
from asahi_edge.domain.workflow import DOCUMENT, PROMPT, Step, Workflow

DAY_S = 86_400.0
_PAGES = (1_000, 4_000)
"""Words of a document, and of what a conversation is about; each is about a token."""
_WORDS = ("pump", "oil", "engine", "valve", "of", "the")
_TURNS, _TURN_S = 10, (5.0, 120.0)
_ASKED_OF_A_DOCUMENT = 4
_STEPS = 2
"""Of a workflow, that read its document, before the one that answers."""
_RUNS_OF_A_DOCUMENT = 4
_EXPONENT = 0.9
"""Of Zipf's law, as in `bench.zipf`."""
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
_FORMAT = json.dumps({"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}).encode()
_REWORDINGS: tuple[Callable[[str], str], ...] = (
    str.upper,
    lambda text: f"Hello! {text}",
    lambda text: f"{text}\n\nThanks.",
    lambda text: f"  {text}  ",
    lambda text: f"{text}!",
)


class Kind(StrEnum):
    """What a request is."""

    QUESTION = "question"
    STRUCTURED = "structured output"
    CONVERSATION = "turn of a conversation"
    DOCUMENT = "question about a document"
    STEP = "step of a workflow"


LENGTHS = {
    Kind.QUESTION: 1,
    Kind.STRUCTURED: 1,
    Kind.CONVERSATION: _TURNS,
    Kind.DOCUMENT: _ASKED_OF_A_DOCUMENT,
    Kind.STEP: _STEPS + 1,
}
"""Requests that come together."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What the day is like."""

    kinds: dict[Kind, float] = field(
        default_factory=lambda: {
            Kind.QUESTION: 0.50,
            Kind.STRUCTURED: 0.15,
            Kind.CONVERSATION: 0.15,
            Kind.DOCUMENT: 0.10,
            Kind.STEP: 0.10,
        }
    )
    """Of requests."""
    repeated: float = 0.2
    """Of single questions and structured outputs: what was asked before, to the letter."""
    reworded: float = 0.03
    """The same, in other case, with a greeting, thanks, other marks or blanks, or as the data words it elsewhere."""


@dataclass(frozen=True, slots=True)
class Question:
    """A measured question."""

    row: int
    """Where its outcomes are."""
    text: str
    same: str
    """Identity by the data: what shares it may still differ, in options or in a number."""
    tools: int = 0
    tools_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked at once: one question, or a workflow."""

    at_s: float
    kind: Kind
    questions: tuple[Question, ...]
    """One; of a workflow one for each step, in order."""
    session: str
    """What belongs together: a conversation, a document, a question and its repeats."""
    chat: ChatRequest = field(default_factory=ChatRequest)
    """Without the question in a workflow, whose steps make their own."""
    prefix_tokens: int = 0
    """Of what is before the question."""
    document: str = ""
    workflow: Workflow | None = None


class TooFew(Exception):
    """The data have too few questions for so many requests; the text says how many there are."""


class Day:
    """Makes the requests of one organisation's day."""

    def __init__(self, questions: Sequence[Question], answer_tokens: Callable[[int], int], random: Random) -> None:
        """`answer_tokens`: of the baseline's answer to the question of a row, which stands in histories."""
        self._fresh = random.sample(questions, len(questions))
        self._most = len(questions)
        self._answer_tokens = answer_tokens
        self._random = random
        self._asked: dict[Kind, list[Question]] = {Kind.QUESTION: [], Kind.STRUCTURED: []}
        self._weights = list(accumulate(rank**-_EXPONENT for rank in range(1, len(questions) + 1)))
        self._documents: list[tuple[str, tuple[Question, ...]]] = []
        self._others: dict[str, list[Question]] = {}
        for question in questions:
            self._others.setdefault(question.same, []).append(question)

    def requests(self, shares: Shares, count: int | None = None) -> list[Request]:
        """About `count` of them, each step of a workflow counted, in the order of their time; None: all there are.

        Raises:
            TooFew: the questions do not suffice.
        """
        kinds = list(shares.kinds)
        weights = [shares.kinds[kind] / LENGTHS[kind] for kind in kinds]
        wanted = self._most if count is None else count
        sessions = round(wanted * sum(weights) / sum(shares.kinds.values()))
        runs = round(wanted * shares.kinds[Kind.STEP] / LENGTHS[Kind.STEP])
        documents = max(1, runs // _RUNS_OF_A_DOCUMENT) if shares.repeated else runs
        made: list[Request] = []
        times = sorted(self._random.uniform(0, DAY_S) for _ in range(sessions))
        drawn = self._random.choices(kinds, weights, k=sessions)
        for number, (at_s, kind) in enumerate(zip(times, drawn, strict=True)):
            if count is None and len(self._fresh) < max(LENGTHS.values()):
                break
            match kind:
                case Kind.CONVERSATION:
                    made += self._conversation(f"conversation {number}", at_s)
                case Kind.DOCUMENT:
                    made += self._about_a_document(f"document {number}", at_s)
                case Kind.STEP:
                    made.append(self._run(at_s, documents))
                case _:
                    made.append(self._single(kind, shares, at_s))
        return sorted(made, key=lambda request: request.at_s)

    def _next(self) -> Question:
        if not self._fresh:
            raise TooFew(f"there are {self._most} questions to ask, which is too few; ask for fewer requests")
        return self._fresh.pop()

    def _single(self, kind: Kind, shares: Shares, at_s: float) -> Request:
        drawn, asked = self._random.random(), self._asked[kind]
        if asked and drawn < shares.repeated + shares.reworded:
            question = asked[self._popular(len(asked))]
            if drawn < shares.reworded:
                question = self._reworded(question)
        else:
            question = self._next()
            asked.append(question)
        chat = _chat(question, [])
        if kind is Kind.STRUCTURED:
            chat.response_format_json = _FORMAT
        return Request(at_s, kind, (question,), question.same, chat)

    def _popular(self, asked: int) -> int:
        """One of so many by Zipf's law; what was asked earlier is asked more."""
        return bisect_left(self._weights, self._random.random() * self._weights[asked - 1])

    def _reworded(self, question: Question) -> Question:
        others = [other for other in self._others[question.same] if other.text != question.text]
        if others:
            return self._random.choice(others)
        return replace(question, text=self._random.choice(_REWORDINGS)(question.text))

    def _conversation(self, name: str, at_s: float) -> Iterator[Request]:
        about, tokens = self._pages()
        before = [Message(role=Role.ROLE_SYSTEM, parts=[ContentPart(text=about)])]
        for _ in range(_TURNS):
            question = self._next()
            chat = _chat(question, before)
            yield Request(at_s, Kind.CONVERSATION, (question,), name, chat, tokens)
            said = self._answer_tokens(question.row)
            answer = Message(role=Role.ROLE_ASSISTANT, parts=[ContentPart(text="word " * said)])
            before = [*chat.messages, answer]
            tokens += len(question.text) // 4 + said
            at_s += self._random.uniform(*_TURN_S)

    def _about_a_document(self, name: str, at_s: float) -> Iterator[Request]:
        document, tokens = self._pages()
        for _ in range(_ASKED_OF_A_DOCUMENT):
            question = self._next()
            chat = _chat(replace(question, text=f"{document}\n\n{question.text}"), [])
            yield Request(at_s, Kind.DOCUMENT, (question,), name, chat, tokens, document)
            at_s += self._random.uniform(*_TURN_S)

    def _run(self, at_s: float, documents: int) -> Request:
        """A workflow: steps on a document that many ask about, and one that answers a question of its own."""
        if len(self._documents) < documents:
            self._documents.append((self._pages()[0], tuple(self._next() for _ in range(_STEPS))))
            place = len(self._documents) - 1
        else:
            place = self._popular(documents)
        document, steps = self._documents[place]
        last = self._next()
        made = [Step(f"part{n}", f"{{{{{DOCUMENT}}}}}\n\n{step.text}") for n, step in enumerate(steps)]
        reads = " ".join(f"{{{{{step.id}}}}}" for step in made)
        answer = Step("answer", f"{reads}\n\n{{{{{PROMPT}}}}}", tuple(step.id for step in made))
        workflow = Workflow((*made, answer), {DOCUMENT: document, PROMPT: last.text})
        name = f"workflow document {place}"
        return Request(at_s, Kind.STEP, (*steps, last), name, document=document, workflow=workflow)

    def _pages(self) -> tuple[str, int]:
        words = self._random.randrange(*_PAGES)
        return " ".join(self._random.choices(_WORDS, k=words)), words


def _chat(question: Question, before: Sequence[Message]) -> ChatRequest:
    asked = Message(role=Role.ROLE_USER, parts=[ContentPart(text=question.text)])
    each = question.tools_bytes // max(1, question.tools)
    tools = [Tool(name=f"tool{n}", description="d" * each, parameters_json=b"{}") for n in range(question.tools)]
    return ChatRequest(messages=[*before, asked], tools=tools)
