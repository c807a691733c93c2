"""With a key in the environment that provider is called, in its own wire format, and nothing is simulated."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from anthropic.types import Message
from openai import OpenAI
from openai.types.chat import ChatCompletion

from cli.tests.installation import REAL
from cli.tests.installation import Installation as Laptop
from tests.installation import running_installation

OPENAI_ANSWER: dict[str, Any] = {
    "id": "chatcmpl-real",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-6.1-sol-2026-10-01",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Of course.", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}
ANTHROPIC_ANSWER: dict[str, Any] = {
    "id": "msg_real",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Certainly."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 20, "output_tokens": 5},
}
OPENAI_CHUNK = {"id": "chatcmpl-real", "object": "chat.completion.chunk", "created": 1, "model": OPENAI_ANSWER["model"]}
OPENAI_EVENTS = [
    {**OPENAI_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}
    for delta, reason in (
        ({"role": "assistant", "content": ""}, None),
        ({"content": "Of "}, None),
        ({"content": "course."}, None),
        ({}, "stop"),
    )
] + [{**OPENAI_CHUNK, "choices": [], "usage": OPENAI_ANSWER["usage"]}]
ANTHROPIC_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**ANTHROPIC_ANSWER, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Certainly."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


def plain(path: str) -> bytes:
    """The body of an answer."""
    if path.endswith("/count_tokens"):
        return b'{"input_tokens":20}'
    return json.dumps(OPENAI_ANSWER if path.endswith("/chat/completions") else ANTHROPIC_ANSWER).encode()


def streamed(path: str) -> bytes:
    """The events of an answer."""
    if path.endswith("/chat/completions"):
        return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in OPENAI_EVENTS) + b"data: [DONE]\n\n"
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), json.dumps(event).encode())
        for event in ANTHROPIC_EVENTS
    )


class Recorder:
    """A server of our own that answers as a provider would and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.requests.append((self.path, headers, body))
                streaming = body.get("stream", False)
                sent = streamed(self.path) if streaming else plain(self.path)
                self.send_response(200)
                self.send_header("content-type", "text/event-stream" if streaming else "application/json")
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def provider() -> Iterator[Recorder]:
    """A running recorder."""
    recorder = Recorder()
    thread = threading.Thread(target=recorder.server.serve_forever)
    thread.start()
    yield recorder
    recorder.server.shutdown()
    thread.join()
    recorder.server.server_close()


def test_the_recorded_answers_are_what_the_official_sdks_take() -> None:
    assert ChatCompletion.model_validate(OPENAI_ANSWER).choices[0].message.content == "Of course."
    assert Message.model_validate(ANTHROPIC_ANSWER).usage.output_tokens == 5


def test_openais_protocol_is_spoken_to_openais_base_url(data: Path, provider: Recorder) -> None:
    environment = {"router": {"OPENAI_API_KEY": "sk-of-the-test-1234", "OPENAI_BASE_URL": f"{provider.url}/v1"}}
    with running_installation(data, simulator=False, environment=environment) as running:
        organization = running.signup()
        with OpenAI(base_url=f"{running.url}/v1", api_key=organization.key) as client:
            answer = client.chat.completions.create(
                model="gpt-6.1-sol",
                messages=[{"role": "user", "content": "Is this real?"}],
                max_tokens=512,
                user="alice",
                extra_body={"x_new_field": {"deep": [1, 2]}},
            )
            chunks = list(
                client.chat.completions.create(
                    model="gpt-6.1-sol", messages=[{"role": "user", "content": "And streamed?"}], stream=True
                )
            )
        with organization.client() as http:
            inferred = http.post(
                "/infer",
                json={
                    "prompt": "Is this real, too?",
                    "system": "Be brief.",
                    "routing_mode": "explicit",
                    "model_override": "gpt-6.1-sol",
                    "max_tokens": 64,
                    "seed": 7,
                },
            ).json()
    (path, headers, body), (_, _, streaming), (_, _, second) = provider.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sk-of-the-test-1234"
    assert not [name for name in headers if name.startswith("x-asahi")]
    assert body == {
        "model": "gpt-6.1-sol",
        "messages": [{"role": "user", "content": "Is this real?"}],
        "max_completion_tokens": 512,
        "user": "alice",
        "x_new_field": {"deep": [1, 2]},
    }
    assert streaming == {
        "model": "gpt-6.1-sol",
        "messages": [{"role": "user", "content": "And streamed?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Of course."
    assert not any(chunk.usage for chunk in chunks)  # Asahi asked for it, this caller did not
    assert second == {
        "model": "gpt-6.1-sol",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is this real, too?"}],
        "max_completion_tokens": 64,
        "seed": 7,
    }
    assert answer.choices[0].message.content == inferred["response"] == "Of course."
    assert answer.model == OPENAI_ANSWER["model"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 8
    assert (inferred["tokens_input"], inferred["tokens_input_cached"], inferred["tokens_output"]) == (20, 8, 5)
    # gpt-6.1-sol: 2 $ a million input tokens, 0.1 $ cached, 10 $ output
    assert inferred["cost"] == pytest.approx((12 * 2 + 8 * 0.1 + 5 * 10) / 1e6, abs=1e-12)
    assert inferred["provider"] == "openai"


def test_anthropics_protocol_is_spoken_to_anthropics_base_url(data: Path, provider: Recorder) -> None:
    environment = {"router": {"ANTHROPIC_API_KEY": "sk-ant-of-the-test", "ANTHROPIC_BASE_URL": provider.url}}
    with running_installation(data, simulator=False, environment=environment) as running:
        organization = running.signup()
        with OpenAI(base_url=f"{running.url}/v1", api_key=organization.key) as client:
            answer = client.chat.completions.create(
                model="claude-haiku-4-5",
                messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is this real?"}],
                max_tokens=100,
                stop=["###"],
            )
            chunks = list(
                client.chat.completions.create(
                    model="claude-haiku-4-5",
                    messages=[{"role": "user", "content": "And streamed?"}],
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )
    (path, headers, body), (_, _, streaming) = provider.requests
    assert path == "/v1/messages"
    assert headers["x-api-key"] == "sk-ant-of-the-test"
    assert headers["anthropic-version"] == "2023-06-01"
    assert body["model"] == "claude-haiku-4-5"
    assert body["max_tokens"] == 100
    assert body["stop_sequences"] == ["###"]
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert "Be brief." in json.dumps(body["system"])
    assert not [name for name in headers if name.startswith("x-asahi")]
    assert streaming["stream"] is True
    assert "stream_options" not in streaming
    *_, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Certainly."
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (20, 5)
    assert answer.choices[0].message.content == "Certainly."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (20, 5)


def test_anthropics_sdk_and_anthropics_provider_hear_each_other_as_if_nobody_stood_between(
    data: Path, provider: Recorder
) -> None:
    environment = {"router": {"ANTHROPIC_API_KEY": "sk-ant-of-the-test", "ANTHROPIC_BASE_URL": provider.url}}
    thoughts = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln+/=="}
    question: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": "2 + 2?"},
            {"role": "assistant", "content": [thoughts, {"type": "text", "text": "4"}]},
            {"role": "user", "content": "Sure?"},
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "n", "input_schema": {"type": "object"}, "defer_loading": True}],
    }
    count = {name: value for name, value in question.items() if name != "max_tokens"}
    more: dict[str, Any] = {
        "extra_headers": {"anthropic-beta": "one-2026-01-01,two"},
        "extra_body": {"some_new": [1.0]},
    }
    with running_installation(data, simulator=False, environment=environment) as running:
        organization = running.signup()
        with Anthropic(base_url=running.url, api_key=organization.key, max_retries=0) as client:
            plain_answer = client.messages.create(**question, **more)
            with client.messages.stream(**{**question, "messages": question["messages"][:1]}, **more) as stream:
                streamed_answer = stream.get_final_message()
            counted = client.messages.count_tokens(**count, **more)
    (path, headers, body), (_, _, streaming), (count_path, count_headers, counting) = provider.requests
    assert (path, count_path) == ("/v1/messages", "/v1/messages/count_tokens")
    assert body == {**question, "some_new": [1.0]}
    assert streaming == {**body, "messages": question["messages"][:1], "stream": True}
    assert counting == {**count, "some_new": [1.0]}
    for sent in (headers, count_headers):
        assert sent["x-api-key"] == "sk-ant-of-the-test"
        assert sent["anthropic-beta"] == "one-2026-01-01,two"
        assert sent["anthropic-version"] == client.default_headers["anthropic-version"]
        assert organization.key not in json.dumps(sent)
        assert not [name for name in sent if name.startswith("x-asahi")]
    assert {name: plain_answer.to_dict()[name] for name in ANTHROPIC_ANSWER} == ANTHROPIC_ANSWER
    assert [block.to_dict()["text"] for block in streamed_answer.content] == ["Certainly."]
    assert counted.input_tokens == 20


def test_laptop_mode_with_a_key_starts_no_simulator(tmp_path: Path, provider: Recorder) -> None:
    environment = {"OPENAI_API_KEY": "sk-of-the-test-1234", "OPENAI_BASE_URL": f"{provider.url}/v1"}
    with Laptop(tmp_path, command=REAL, **environment) as laptop:
        laptop.wait_ready()
        modules = {child.cmdline()[-1] for child in laptop.programs()}
        health = httpx2.get(f"{laptop.told('URL')}/health", verify=False).json()
    assert modules == {"asahi_auth", "asahi_billing", "asahi_cache", "asahi_edge", "asahi_router"}
    assert health["components"]["providers"]["detail"] == "openai"
    assert "sk-of-the-test-1234" not in laptop.output
    assert "SIMULATOR" not in laptop.output
