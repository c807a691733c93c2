"""What an answer says, path by path: whose call made it, its text, what it cost, how it ended; or what came instead."""

import json
from collections.abc import Callable
from typing import Any

import httpx2

Told = tuple[str, str, float, str]
"""The id of the request that made the answer, its text, dollars, ending (`stop`: by itself)."""
_ANTHROPIC = {
    "503:api_error": "503:service_unavailable",
    "529:overloaded_error": "503:overloaded",
    "502:api_error": "502:provider_error",
    "409:invalid_request_error": "409:idempotency_replay_unavailable",
    "stream:api_error": "stream:upstream_interrupted",
}
"""What Anthropic's shape does not tell apart is taken for what the degrade table allows."""


def told(path: str, text: str, *, stream: bool) -> Told | str:
    """What an answer with 200 says; `stream:code` or `broken` if it was streamed and ended otherwise."""
    return _READ[path](text, stream)


def refusal(response: httpx2.Response, text: str) -> str:
    """`status:code` of a refusal, with what it lacks."""
    error = json.loads(text)["error"]
    came = f"{response.status_code}:{error.get('code') or error['type']}"
    hurry = response.status_code in (503, 529) and "retry-after" not in response.headers
    return f"{_ANTHROPIC.get(came, came)}{' without retry-after' if hurry else ''}"


def _infer(text: str, stream: bool) -> Told | str:
    answer = _last_event(text, "done") if stream else json.loads(text)
    if isinstance(answer, str):
        return answer
    return answer["request_id"], answer["response"], float(answer["cost"]), answer["finish_reason"]


def _chat(text: str, stream: bool) -> Told | str:
    if not stream:
        answer = json.loads(text)
        (choice,) = answer["choices"]
        request_id, cost = _cost(answer)
        return request_id, choice["message"]["content"] or "", cost, choice["finish_reason"]
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if not events:
        return "broken"
    if events[-1] != "[DONE]":
        last = json.loads(events[-1])
        return f"stream:{last['error']['code']}" if "error" in last else "broken"
    chunks = [json.loads(event) for event in events[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    said = "".join(choice["delta"].get("content") or "" for choice in choices)
    finish = next(choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason"))
    request_id, cost = _cost(next(chunk for chunk in reversed(chunks) if "asahi" in chunk))
    return request_id, said, cost, finish


def _message(text: str, stream: bool) -> Told | str:
    if not stream:
        answer = json.loads(text)
        said, reason = _texts(answer["content"], "text"), answer["stop_reason"]
    else:
        last = _last_event(text, "message_stop")
        if isinstance(last, str):
            return _ANTHROPIC.get(last, last)
        events = _events(text)
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        said = "".join(delta.get("text", "") for delta in deltas)
        (reason,) = (event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta")
        answer = last
    request_id, cost = _cost(answer)
    return request_id, said, cost, "stop" if reason == "end_turn" else reason


def _response(text: str, stream: bool) -> Told | str:
    answer: Any = json.loads(text) if not stream else _last_event(text, "response.completed", "response.incomplete")
    if isinstance(answer, str):
        return answer
    answer = answer.get("response", answer)
    messages = [item for item in answer["output"] if item["type"] == "message"]
    said = "".join(_texts(item["content"], "output_text") for item in messages)
    request_id, cost = _cost(answer)
    return request_id, said, cost, "stop" if answer["status"] == "completed" else answer["status"]


def _cost(answer: dict[str, Any]) -> tuple[str, float]:
    return answer["asahi"]["request_id"], float(answer["asahi"]["cost_usd"])


def _texts(parts: list[dict[str, Any]], kind: str) -> str:
    return "".join(part["text"] for part in parts if part["type"] == kind)


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def _last_event(text: str, *ends: str) -> dict[str, Any] | str:
    """The data of the event that ends an answer; `stream:code` of an error, `broken` if it ended without either."""
    blocks = [block for block in text.rstrip().split("\n\n") if not block.startswith(":")]
    lines = dict(line.split(": ", 1) for line in blocks[-1].splitlines() if ": " in line) if blocks else {}
    if lines.get("event") not in {*ends, "error"}:
        return "broken"
    found: dict[str, Any] = json.loads(lines["data"])
    if lines["event"] != "error":
        return found
    error = found.get("error", found)
    return f"stream:{error.get('code') or error['type']}"


_READ: dict[str, Callable[[str, bool], Told | str]] = {
    "/infer": _infer,
    "/v1/chat/completions": _chat,
    "/v1/messages": _message,
    "/v1/responses": _response,
}
