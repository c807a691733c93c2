"""OpenAI's responses as their provider speaks them: questions adapted, answers understood as far as Asahi must."""

from typing import Any

import msgspec

from asahi.type.v1.chat_pb2 import FinishReason
from asahi_router.domain.provider import FailureKind
from asahi_router.providers.counts import Junk
from asahi_router.providers.dialect import Mark, Summary
from asahi_router.providers.failure import clean, failure_told
from asahi_router.providers.fields import OURS
from asahi_router.providers.openai.answer import UsageBody, usage_of
from asahi_router.providers.progress import Progress
from asahi_router.providers.raw_json import FALSE, TRUE, raw, read_object
from asahi_router.providers.responses.seals import MARK, unseal

_ASKING = frozenset({"function_call", "custom_tool_call"})
"""Items by which the model asks the caller for something."""
_SAYING = frozenset({"message", "reasoning"})
_INCOMPLETE: dict[str, FinishReason.ValueType] = {
    "max_output_tokens": FinishReason.FINISH_REASON_LENGTH,
    "content_filter": FinishReason.FINISH_REASON_CONTENT_FILTER,
}
_WHOLE = frozenset({"response.completed", "response.incomplete"})


class _Item(msgspec.Struct):
    type: str = ""
    content: Any = None


class _Thought(msgspec.Struct):
    type: str = ""
    encrypted_content: Any = None


class _Reason(msgspec.Struct):
    reason: str = ""


class _Fault(msgspec.Struct):
    message: str = ""
    code: str | None = None


class _Response(msgspec.Struct):
    status: str = ""
    output: list[_Item] = []
    incomplete_details: _Reason | None = None
    error: _Fault | None = None
    usage: UsageBody | Junk = None
    service_tier: Any = None


class _Event(msgspec.Struct):
    type: str
    delta: Any = None
    message: str = ""
    code: str | None = None
    error: _Fault | Junk = None
    response: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_response = msgspec.json.Decoder(_Response)
_event = msgspec.json.Decoder(_Event)
_raw_items = msgspec.json.Decoder(list[msgspec.Raw])
_thought = msgspec.json.Decoder(_Thought)


def adapt(body: bytes, model: str, *, stream: bool) -> bytes:
    """The question for `model`, without thoughts of others; Asahi keeps responses, so the provider is told not to."""
    fields = read_object(body)
    fields.pop(OURS, None)
    fields.pop("stream", None)
    fields |= {"model": raw(model), "store": FALSE}
    if stream:
        fields["stream"] = TRUE
    if MARK in body and "input" in fields:
        fields["input"] = _without_others_thoughts(fields["input"])
    return bytes(raw(fields))


def _without_others_thoughts(asked: msgspec.Raw) -> msgspec.Raw:
    try:
        kept = [item for item in _raw_items.decode(asked) if not _is_sealed(_thought.decode(item))]
    except msgspec.DecodeError:
        return asked  # a text, or what the provider will refuse
    return raw(kept)


def _is_sealed(thought: "_Thought") -> bool:
    sealed = thought.encrypted_content
    return thought.type == "reasoning" and isinstance(sealed, str) and bool(unseal(sealed))


def summarize(body: bytes) -> Summary:
    """Why a plain answer ended and what it consumed; raises ValueError if it is none."""
    answer = _response.decode(body)
    if answer.status not in {"completed", "incomplete"}:
        told = clean(answer.error.message) if answer.error is not None else ""
        raise ValueError(told or f"its answer has the status '{answer.status[:40]}'")
    return Summary(_finish(answer), usage_of(answer.usage, answer.service_tier), empty=not answer.output)


def _finish(answer: _Response) -> FinishReason.ValueType:
    """Why it ended. What the provider's own tools found ages, so the answer counts as one that must not be kept."""
    if answer.status == "incomplete":
        why = answer.incomplete_details.reason if answer.incomplete_details is not None else ""
        return _INCOMPLETE.get(why, FinishReason.FINISH_REASON_LENGTH)
    if any(_refuses(item) for item in answer.output):
        return FinishReason.FINISH_REASON_CONTENT_FILTER
    kinds = {item.type for item in answer.output}
    if kinds - _SAYING - _ASKING:
        return FinishReason.FINISH_REASON_UNSPECIFIED
    return FinishReason.FINISH_REASON_TOOL_CALLS if kinds & _ASKING else FinishReason.FINISH_REASON_STOP


def _refuses(item: _Item) -> bool:
    parts = item.content if isinstance(item.content, list) else ()
    return any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)


class ResponseStreamReader:
    """Reads the events of one answer up to `response.completed` or `response.incomplete`."""

    def __init__(self) -> None:
        self._whole = b""

    def read(self, event: bytes, progress: Progress) -> Mark:
        """Takes the event in; raises ProviderFailure if it is an error, or cannot be understood."""
        if event == b"[DONE]":  # some servers say so after the last event
            return Mark.UNSHOWN
        try:
            told = _event.decode(event)
            if told.type.endswith(".delta") and isinstance(told.delta, str):
                progress.add(told.delta)
            elif told.type == "error":
                fault = told.error if isinstance(told.error, _Fault) else _Fault(told.message, told.code)
                raise failure_told(fault.message, fault.code, progress.received(), begun=progress.pieces > 0)
            elif told.type == "response.failed" and told.response is not msgspec.UNSET:
                fault = _response.decode(told.response).error or _Fault()
                raise failure_told(fault.message, fault.code, progress.received(), begun=progress.pieces > 0)
            elif told.type in _WHOLE and not isinstance(told.response, msgspec.UnsetType):
                self._whole = bytes(told.response)
                whole = _response.decode(self._whole)
                progress.usage = usage_of(whole.usage, whole.service_tier)
                return Mark.LAST
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            kind = FailureKind.INTERRUPTED if progress.pieces else FailureKind.FAILED
            raise progress.failure(kind, "its answer is not what its protocol says") from error
        return Mark.PLAIN

    def body(self) -> bytes:
        """The response of the last event."""
        return self._whole
