"""The traffic of coding agents: a long system prompt, many tools, thoughts, token counting, two hundred turns.

An agent does the same work through Asahi and with the provider itself, and may notice nothing. Its thoughts go back
with every turn, under signatures that the provider checks.
"""

import json
from typing import Any, NamedTuple

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.installation import Installation, Organization
from tests.ledger import call_records
from tests.simulator import SimulatorControl

_TURNS = 200
_COUNTED_EVERY = 20
_CLAUDE, _GPT = "claude-sonnet-5-5", "gpt-5.4-mini"
_SYSTEM = "You change code with care, read before you write, and run the tests. " * 300
_VERBS, _NOUNS = ("read", "write", "move", "search", "run", "list"), ("file", "folder", "test", "branch", "issue")
_TOOLS = [f"{verb}_{noun}" for verb in _VERBS for noun in _NOUNS]
_SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "Where, from the root of the repository."},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "options": {"type": "object", "properties": {"recursive": {"type": "boolean"}}, "required": ["recursive"]},
    },
    "required": ["path", "options"],
}


class Said(NamedTuple):
    """What an agent sees of one turn."""

    content: list[Any]
    prompt_tokens: int
    output_tokens: int


@pytest.fixture
def control(installation: Installation) -> SimulatorControl:
    """A provider that has counted nothing and cached nothing yet."""
    simulator = SimulatorControl(installation.url_of("simulator"))
    simulator.reset()
    return simulator


def _asked(turn: int) -> str:
    """Now and then a question; as a rule the name of the tool that is wanted."""
    return f"{turn}: explain what you found." if turn % 7 == 6 else f"{turn}: use {_TOOLS[turn % len(_TOOLS)]}."


class Claude:
    """An agent that speaks Anthropic's protocol, streams, thinks, and marks what it wants cached."""

    def __init__(self, url: str, key: str) -> None:
        self.sdk = Anthropic(base_url=url, api_key=key, max_retries=0, timeout=60.0)
        self.read_from_cache = 0
        self._messages: list[Any] = []
        self._results: list[Any] = []

    def question(self) -> dict[str, Any]:
        """All that was said until now."""
        marked = {"type": "text", "text": _SYSTEM, "cache_control": {"type": "ephemeral"}}
        tools = [{"name": name, "description": f"Can {name}.", "input_schema": _SCHEMA} for name in _TOOLS]
        return {"model": _CLAUDE, "system": [marked], "tools": tools, "messages": self._messages}

    def turn(self, number: int) -> Said:
        """Says the next thing; where tools are called, their results go with the one after."""
        text = {"type": "text", "text": _asked(number), "cache_control": {"type": "ephemeral"}}
        for message in self._messages:
            for block in message["content"]:
                block.pop("cache_control", None)
        self._messages.append({"role": "user", "content": [*self._results, text]})
        counted = None
        if number % _COUNTED_EVERY == 0:
            counted = self.sdk.messages.count_tokens(**self.question()).input_tokens
        asked = {**self.question(), "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        with self.sdk.messages.stream(**asked) as stream:
            answer = stream.get_final_message()
        content = [block.to_dict(mode="json") for block in answer.content]
        for block in content:
            block.pop("parsed_output", None)  # the helper's own
        self._messages.append({"role": "assistant", "content": content})
        self._results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": json.dumps(block["input"])}
            for block in content
            if block["type"] == "tool_use"
        ]
        usage = answer.usage
        written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
        self.read_from_cache += read
        prompt = usage.input_tokens + written + read
        assert counted in (None, prompt), f"turn {number} was counted as {counted} tokens and billed as {prompt}"
        return Said([dict(block) for block in content], prompt, usage.output_tokens)


class Gpt:
    """An agent that speaks OpenAI's protocol, streams, and reasons."""

    def __init__(self, url: str, key: str) -> None:
        self.sdk = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60.0)
        self.read_from_cache = 0
        self._messages: list[Any] = [{"role": "developer", "content": _SYSTEM}]

    def turn(self, number: int) -> Said:
        """Says the next thing, after the results of the tools that were called."""
        self._messages.append({"role": "user", "content": _asked(number)})
        tools = [
            {"type": "function", "function": {"name": name, "description": f"Can {name}.", "parameters": _SCHEMA}}
            for name in _TOOLS
        ]
        asked: dict[str, Any] = {"model": _GPT, "messages": self._messages, "tools": tools, "reasoning_effort": "none"}
        chunks = self.sdk.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        text, calls, usage = "", dict[int, Any](), None
        for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for piece in choice.delta.tool_calls or ():
                    call = calls.setdefault(piece.index, {"id": piece.id, "type": "function", "function": {}})
                    assert piece.function is not None
                    call["function"].setdefault("name", piece.function.name)
                    told = call["function"].get("arguments", "") + (piece.function.arguments or "")
                    call["function"]["arguments"] = told
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        self.read_from_cache += usage.prompt_tokens_details.cached_tokens or 0
        content = list(calls.values()) or [text]
        said = {"tool_calls": content, "content": None} if calls else {"content": text}
        self._messages.append({"role": "assistant", **said})
        for call in calls.values():
            result = call["function"]["arguments"]
            self._messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        return Said(content, usage.prompt_tokens, usage.completion_tokens)


@pytest.mark.parametrize("agent", [Claude, Gpt])
def test_an_agent_works_two_hundred_turns_as_with_the_provider_and_every_token_is_in_the_ledger(
    agent: type[Claude] | type[Gpt], installation: Installation, organization: Organization, control: SimulatorControl
) -> None:
    through = agent(installation.url, organization.key)
    with through.sdk:
        said = [through.turn(number) for number in range(_TURNS)]
    calls = control.calls()
    assert through.read_from_cache > 0.9 * sum(one.prompt_tokens for one in said), "the provider's cache went unused"
    with organization.client() as client:
        usage = client.get("/governance/usage").json()["data"]
    records = call_records(installation.data, organization.id)
    assert usage["requests"] == len(calls) == len(records) == _TURNS
    assert [one.prompt_tokens for one in said] == [call["prompt_tokens"] for call in calls]
    assert [one.output_tokens for one in said] == [call["completion_tokens"] for call in calls]
    told = [(call["cached_tokens"], call["completion_tokens"], call["reasoning_tokens"]) for call in calls]
    assert [(r["cache_read_tokens"], r["output_tokens"], r["reasoning_tokens"]) for r in records] == told
    control.reset()
    itself = agent(installation.url_of("simulator"), "none")
    with itself.sdk:
        assert [itself.turn(number) for number in range(_TURNS)] == said
    assert itself.read_from_cache == through.read_from_cache


def test_a_turn_that_is_asked_again_comes_from_the_cache_with_its_thoughts_and_its_usage(
    installation: Installation, organization: Organization, control: SimulatorControl
) -> None:
    agent = Claude(installation.url, organization.key)
    for number in range(5):
        agent.turn(number)
    asked = {**agent.question(), "max_tokens": 4000, "thinking": {"type": "adaptive"}}
    asked["messages"] = [*asked["messages"], {"role": "user", "content": "And now?"}]
    first, again = (agent.sdk.messages.with_raw_response.create(**asked) for _ in range(2))
    assert again.headers["x-asahi-cache"] == "hit; tier=1"
    bodies = [answer.parse().to_dict() for answer in (first, again)]
    thought = bodies[1]["content"][0]
    assert thought["type"] == "thinking"
    assert thought["signature"]
    assert bodies[0]["content"] == bodies[1]["content"]
    assert bodies[0]["usage"] == bodies[1]["usage"]
    agent.sdk.close()


def test_thoughts_that_an_agent_changed_are_refused_in_the_providers_words(
    installation: Installation, organization: Organization
) -> None:
    agent = Claude(installation.url, organization.key)
    agent.turn(6)
    messages = agent.question()["messages"]
    messages[-1]["content"][0]["thinking"] += "!"
    with organization.client() as client:
        answer = client.post("/v1/messages", json={**agent.question(), "max_tokens": 100})
    assert answer.status_code == 400
    assert "Invalid `signature` in `thinking` block" in answer.json()["error"]["message"]
    agent.sdk.close()
