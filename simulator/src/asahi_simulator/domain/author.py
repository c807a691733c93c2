"""Writes answers: prose, documents for a schema, calls of tools, and answers that a rule asks for."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec

from asahi_simulator.domain.completion import Answer, CompletionRequest, Ending, Tool, ToolCall
from asahi_simulator.domain.prose import Prose
from asahi_simulator.domain.rules import Mode, Params
from asahi_simulator.domain.schema import example
from asahi_simulator.domain.tokens import split

_REFUSAL = tuple(split("I'm sorry, but I can't help with that request."))
_ORDINARY = Params()
_THOUGHT = 0x5EED
"""Makes thoughts another text than what is said."""


class Author:
    """Deterministic: the same request gets the same answer. Otherwise `nonce` makes every answer another."""

    def __init__(self, prose: Prose, *, nonce: Callable[[], int] | None, answer_tokens: int) -> None:
        self._prose = prose
        self._nonce = nonce
        self._answer_tokens = answer_tokens

    def write(self, request: CompletionRequest, mode: Mode, params: Params | None) -> tuple[Answer, ...]:
        """As many answers as `request` wants, within its limits, in the way of `mode`."""
        if mode == "empty":
            return ()
        how = params or _ORDINARY
        return tuple(self._one(request, choice, mode, how) for choice in range(request.choices))

    def _one(self, request: CompletionRequest, choice: int, mode: Mode, params: Params) -> Answer:
        seed = self._seed(request, choice)
        match mode:
            case "endless":
                return Answer(self._prose.endless(seed), reasoning_tokens=request.reasoning_tokens)
            case "refusal":
                return Answer(_REFUSAL, ending="refusal")
            case "content_filter":
                return _cut(self._ordinary(request, seed, params), params.after_tokens, "content_filter")
            case "truncated":
                return _cut(self._ordinary(request, seed, params), params.after_tokens, "length")
            case "tool_calls" if request.tools:
                answer = _calling(request.tools, seed, params.arguments)
            case _:
                answer = self._ordinary(request, seed, params)
        thoughts = self._prose.exactly(seed ^ _THOUGHT, request.reasoning_tokens) if request.shows_thoughts else ()
        thought = replace(answer, reasoning_tokens=request.reasoning_tokens, thoughts=tuple(thoughts))
        return _within_limits(thought, request)

    def _ordinary(self, request: CompletionRequest, seed: int, params: Params) -> Answer:
        tools = _tools_to_call(request)
        if tools:
            return _calling(tools, seed)
        if params.text is not None:
            return Answer(split(params.text))
        if request.json_schema is not None:
            return Answer(split(_json(example(request.json_schema, seed))))
        wanted = self._answer_tokens if params.answer_tokens is None else params.answer_tokens
        return Answer(self._prose.exactly(seed, wanted) if wanted else self._prose.answer(seed))

    def _seed(self, request: CompletionRequest, choice: int) -> int:
        nonce = self._nonce() if self._nonce is not None else 0
        asked = f"{request.model}\0{request.seed}\0{choice}\0{nonce}\0" + "\0".join(request.prompt.pieces)
        return int.from_bytes(blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _tools_to_call(request: CompletionRequest) -> tuple[Tool, ...]:
    """The tools that the caller forces, or that the last user message names."""
    if not request.tools or request.tool_use == "none":
        return ()
    if request.tool_named:
        return tuple(tool for tool in request.tools if tool.name == request.tool_named)
    told = request.prompt.told
    named = tuple(tool for tool in request.tools if re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", told))
    if not named and request.tool_use == "required":
        named = request.tools
        return named[:1]
    return named if request.parallel_tools else named[:1]


def _calling(tools: tuple[Tool, ...], seed: int, told: Mapping[str, Mapping[str, Any]] | None = None) -> Answer:
    """Calls of `tools`; of those in `told` alone, with the arguments there, if it is given."""
    calls = tuple(
        ToolCall(
            f"{seed:016x}{number:08x}",
            tool.name,
            split(_json(example(tool.schema, seed) if told is None else told[tool.name])),
        )
        for number, tool in enumerate(tool for tool in tools if told is None or tool.name in told)
    )
    return Answer(tool_calls=calls, ending="tool_calls")


def _json(document: object) -> str:
    return msgspec.json.encode(document).decode()


def _within_limits(answer: Answer, request: CompletionRequest) -> Answer:
    if request.stop:
        text = answer.text
        found = min(((text.find(stop), stop) for stop in request.stop if stop and stop in text), default=None)
        if found is not None:
            answer = replace(answer, pieces=split(text[: found[0]]), stop_sequence=found[1])
    if request.max_tokens is not None and answer.tokens > request.max_tokens:
        answer = _cut(answer, request.max_tokens, "length")
    return answer


def _cut(answer: Answer, most_tokens: int, ending: Ending) -> Answer:
    """The first `most_tokens` tokens of `answer`, reasoning first."""
    left = most_tokens
    reasoning = min(left, answer.reasoning_tokens)
    left -= reasoning
    pieces = list(answer.pieces)[:left]
    left -= len(pieces)
    calls = []
    for call in answer.tool_calls:
        if left > 0:
            calls.append(replace(call, pieces=call.pieces[: left - 1]))
            left -= 1 + len(calls[-1].pieces)
    return Answer(pieces, tuple(calls), ending, None, reasoning, answer.thoughts[:reasoning])
