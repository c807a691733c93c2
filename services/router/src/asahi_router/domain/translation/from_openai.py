"""OpenAI's chat completions, asked of a provider that speaks Anthropic's messages."""

from asahi_router.domain.translation.fates import Entries, Table, carried, left_out, neutral, refused, translated

_LABEL = left_out("a label for OpenAI's own use")
_CACHING = left_out("a hint to OpenAI's prompt cache")
_UNKNOWN_THERE = refused("the protocol has nothing of the kind")
_KIND = carried("chooses the kind")
_ROLE = carried()

_REQUEST: Entries = {
    "organization_id": left_out("Asahi's own"),
    "model": translated("the provider's name of the model that was chosen"),
    "stream": carried(),
    "stream_options": left_out("usage is always asked for; the answer has it as the caller wants"),
    "messages": carried(),
    "max_completion_tokens": translated("`max_tokens`; the operator's default where it is absent"),
    "max_tokens": carried(),
    "temperature": carried("refused above 1"),
    "top_p": carried(),
    "stop": translated("`stop_sequences`"),
    "seed": _UNKNOWN_THERE,
    "response_format": translated("`output_config.format`"),
    "tools": carried(),
    "tool_choice": translated("`tool_choice.type`: `required` is `any`, a function is `tool`"),
    "parallel_tool_calls": translated("`tool_choice.disable_parallel_tool_use`, where there are tools"),
    "user": translated("`metadata.user_id`"),
    "safety_identifier": translated("`metadata.user_id`, before `user`"),
    "metadata": _LABEL,
    "prompt_cache_key": _CACHING,
    "prompt_cache_retention": _CACHING,
    "prompt_cache_options": _CACHING,
    "n": neutral(1),
    "logprobs": neutral(False),
    "top_logprobs": neutral(0),
    "store": neutral(False),
    "service_tier": neutral("auto", "default"),
    "frequency_penalty": neutral(0),
    "presence_penalty": neutral(0),
    "logit_bias": neutral({}),
    "modalities": neutral(["text"]),
    "verbosity": neutral("medium"),
    "reasoning_effort": refused("levels do not mean the same in both protocols"),
    "audio": _UNKNOWN_THERE,
    "function_call": refused("older form of `tool_choice`"),
    "functions": refused("older form of `tools`"),
    "moderation": _UNKNOWN_THERE,
    "prediction": _UNKNOWN_THERE,
    "web_search_options": refused("a tool that OpenAI runs"),
}

FROM_OPENAI: Table = {
    "request": _REQUEST,
    "messages:developer": {
        "role": translated("`system`, or a `system` message where the conversation has begun"),
        "content": carried(),
        "name": _UNKNOWN_THERE,
    },
    "messages:system": {
        "role": translated("`system`, or a `system` message where the conversation has begun"),
        "content": carried(),
        "name": _UNKNOWN_THERE,
    },
    "messages:user": {"role": _ROLE, "content": carried("refused where it is empty"), "name": _UNKNOWN_THERE},
    "messages:assistant": {
        "role": _ROLE,
        "content": carried("refused where the whole message is empty"),
        "refusal": translated("text"),
        "tool_calls": translated("`tool_use` blocks after the text"),
        "annotations": neutral([]),
        "reasoning_content": left_out("thoughts without a signature, which no provider takes back"),
        "name": _UNKNOWN_THERE,
        "audio": _UNKNOWN_THERE,
        "function_call": refused("older form of `tool_calls`"),
    },
    "messages:tool": {
        "role": translated("a `tool_result` block of a user message"),
        "content": carried(),
        "tool_call_id": translated("`tool_use_id`"),
    },
    "messages:function": refused("older form of tools"),
    "content:text": {"type": _KIND, "text": carried("an empty one is left out"), "prompt_cache_breakpoint": _CACHING},
    "content:refusal": {"type": translated("text"), "refusal": translated("`text`")},
    "content:image_url": {
        "type": translated("`image`"),
        "image_url": translated("`source`"),
        "prompt_cache_breakpoint": _CACHING,
    },
    "content:image_url/image_url": {
        "url": translated("`source` of type `url`, or `base64` where it is a data URL"),
        "detail": neutral("auto"),
    },
    "content:*": refused("audio, files, and what is not known"),
    "tool_calls:function": {"type": translated("`tool_use`"), "id": carried(), "function": carried()},
    "tool_calls:function/function": {
        "name": carried(),
        "arguments": translated("`input`; refused where it is no JSON object"),
    },
    "tool_calls:*": refused("calls of custom tools"),
    "tools:function": {"type": translated("none"), "function": carried()},
    "tools:function/function": {
        "name": carried(),
        "description": carried(),
        "parameters": translated("`input_schema`"),
        "strict": carried(),
    },
    "tools:*": refused("custom tools"),
    "tool_choice:function": {"type": translated("`tool`"), "function": carried()},
    "tool_choice:function/function": {"name": carried()},
    "tool_choice:*": refused("choices among allowed or custom tools"),
    "response_format:text": {"type": left_out("what there is without it")},
    "response_format:json_schema": {"type": _KIND, "json_schema": carried()},
    "response_format:json_schema/json_schema": {
        "schema": carried(),
        "strict": left_out("Anthropic always keeps to the schema"),
        "name": left_out("a schema has no name there"),
        "description": translated("the schema's own `description`, where it has none"),
    },
    "response_format:*": refused("JSON of any shape"),
}
