"""Anthropic's messages, asked of a provider that speaks OpenAI's chat completions."""

from asahi_router.domain.translation.fates import Entries, Table, carried, left_out, neutral, refused, translated

_CACHING = left_out("other providers cache by themselves")
_ACCOUNT = left_out("names a part of an account with Anthropic")
_UNKNOWN_THERE = refused("the protocol has nothing of the kind")
_KIND = carried("chooses the kind")
_THOUGHTS = refused("thoughts with a signature are for the provider that signed them")

_REQUEST: Entries = {
    "organization_id": left_out("Asahi's own"),
    "model": translated("the provider's name of the model that was chosen"),
    "stream": carried(),
    "messages": carried(),
    "system": translated("a first message of the role `system`"),
    "max_tokens": translated("`max_completion_tokens`"),
    "temperature": carried(),
    "top_p": carried(),
    "stop_sequences": translated("`stop`"),
    "tools": carried(),
    "tool_choice": translated("`any` is `required`, `tool` a function"),
    "output_config": translated("`response_format`"),
    "metadata": translated("`user`"),
    "cache_control": _CACHING,
    "user_profile_id": _ACCOUNT,
    "workspace_id": _ACCOUNT,
    "diagnostics": left_out("says why Anthropic's prompt cache was missed"),
    "service_tier": neutral("auto", "standard_only"),
    "speed": neutral("standard"),
    "thinking": neutral({"type": "disabled"}),
    "top_k": _UNKNOWN_THERE,
    "container": _UNKNOWN_THERE,
    "inference_geo": _UNKNOWN_THERE,
}
_MESSAGE: Entries = {"role": carried(), "content": carried()}
_TEXT: Entries = {"type": _KIND, "text": carried(), "cache_control": _CACHING, "citations": neutral([])}

FROM_ANTHROPIC: Table = {
    "request": _REQUEST,
    "request/metadata": {"user_id": translated("`user`")},
    "request/output_config": {
        "format": translated("`response_format`"),
        "effort": refused("levels do not mean the same in both protocols"),
    },
    "format:json_schema": {
        "type": _KIND,
        "schema": translated("`json_schema.schema`, strict, by the name `answer`"),
    },
    "messages:user": _MESSAGE,
    "messages:assistant": _MESSAGE,
    "messages:system": _MESSAGE,
    "system:text": _TEXT,
    "content:text": _TEXT,
    "content:image": {
        "type": translated("`image_url`"),
        "source": translated("`image_url.url`"),
        "cache_control": _CACHING,
        "transformations": _UNKNOWN_THERE,
    },
    "source:url": {"type": _KIND, "url": carried()},
    "source:base64": {
        "type": _KIND,
        "media_type": translated("part of a data URL"),
        "data": translated("part of a data URL"),
    },
    "source:*": refused("files kept by Anthropic, and what is not known"),
    "content:tool_use": {
        "type": translated("`tool_calls` of the message"),
        "id": carried(),
        "name": carried(),
        "input": translated("`function.arguments`"),
        "cache_control": _CACHING,
        "caller": neutral({"type": "direct"}),
        "toolset_name": _UNKNOWN_THERE,
    },
    "content:tool_result": {
        "type": translated("a message of the role `tool`"),
        "tool_use_id": translated("`tool_call_id`"),
        "content": carried("refused where it has images"),
        "is_error": neutral(False),
        "cache_control": _CACHING,
        "toolset_name": _UNKNOWN_THERE,
    },
    "content:thinking": {
        "type": left_out("thoughts without a signature, which no provider takes back"),
        "thinking": left_out("the same"),
        "signature": neutral(""),
    },
    "content:redacted_thinking": _THOUGHTS,
    "content:*": refused("documents, search results, tools that Anthropic runs, and what is not known"),
    "tools:custom": {
        "type": translated("`function`"),
        "name": carried(),
        "description": carried(),
        "input_schema": translated("`function.parameters`", whole=True),
        "strict": carried(),
        "cache_control": _CACHING,
        "eager_input_streaming": left_out("how soon arguments come, not which"),
        "allowed_callers": neutral(["direct"]),
        "defer_loading": neutral(False),
        "input_examples": _UNKNOWN_THERE,
    },
    "tools:*": refused("tools that Anthropic runs or defines"),
    "tool_choice:auto": {"type": carried(), "disable_parallel_tool_use": translated("`parallel_tool_calls`")},
    "tool_choice:any": {
        "type": translated("`required`"),
        "disable_parallel_tool_use": translated("`parallel_tool_calls`"),
    },
    "tool_choice:tool": {
        "type": translated("`function`"),
        "name": carried(),
        "disable_parallel_tool_use": translated("`parallel_tool_calls`"),
    },
    "tool_choice:none": {"type": carried()},
}
