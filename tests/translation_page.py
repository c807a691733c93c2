"""Writes docs/translation.md from the tables that the translators go by: `python -m tests.translation_page`."""

import json
from collections.abc import Iterator

from asahi_router.domain.translation.fates import Entry, Fate, Table
from asahi_router.domain.translation.from_anthropic import FROM_ANTHROPIC
from asahi_router.domain.translation.from_openai import FROM_OPENAI
from asahi_router.domain.translation.from_responses import FROM_RESPONSES
from tests.documents import ROOT

PAGE = ROOT / "docs" / "translation.md"
_INTRODUCTION = """# What is translated, and how

Written by `python -m tests.translation_page` from the tables that the translators go by; a test holds them against the
request types of the pinned official SDKs, another holds the translators against them.

Either API may be answered by either kind of provider. A question to a provider of **the same protocol** is not
translated: its body goes on as it was written, but for `model`, `stream` (and OpenAI's `stream_options.include_usage`)
and Asahi's own `organization_id`; so do fields that nobody here knows, and Anthropic's headers `anthropic-version` and
`anthropic-beta`. The answer comes back as the provider wrote it, with `asahi` added.

A question to `POST /v1/responses` goes on as it is to a provider that speaks them: OpenAI (unless
`ASAHI_OPENAI_RESPONSES=false`), servers of the operator's with `responses: true`, the simulator. The provider is told
`store: false`, for Asahi keeps responses itself, and nothing of `previous_response_id`, for it is sent all that was
said before. Of its answer `store`, `previous_response_id`, `metadata` and `user` are what they are to this caller.
Encrypted thoughts are given back to the kind of provider that thought them; others are asked without. Where the
provider used tools of its own, the answer is never cached, and its cost is that of its tokens: what is charged for
each use of such a tool is not in the price book, so that it is refused (`price_unknown`) where a budget blocks or
`cost_budget` is set. To all other providers a question is translated: to chat completions, or to Anthropic's
messages.

A question to a provider of **the other protocol** goes through Asahi's own form. Nothing is dropped in silence: what
becomes of each field is below, and what is not below is refused with 400 `unsupported_by_model`, which names the field
where it stands in the question. Autopilot leaves models that would refuse aside.

| word | means |
| --- | --- |
| carried | it means there what it means here |
| translated | it is said in another way |
| left out | it cannot change the answer |
| neutral values only | left out where its value asks for nothing, refused with any other |
| refused | 400 `unsupported_by_model` |
"""
_ANSWERS = """
## Answers

| of the answer | from OpenAI's protocol to Anthropic's | from Anthropic's protocol to OpenAI's |
| --- | --- | --- |
| id | `msg_` and the provider's | `chatcmpl-` and the provider's |
| text | a `text` block | `content` |
| refusal | a `text` block, `stop_reason` `refusal` | `finish_reason` `content_filter` |
| tool calls | `tool_use` blocks | `tool_calls` |
| thoughts | `reasoning_content` is a `thinking` block without a signature | `reasoning_content`; signatures and \
encrypted thoughts are left out |
| why it ended | `end_turn`, `max_tokens`, `tool_use`, `refusal`; which stop text was met is not known | `stop`, \
`length`, `tool_calls`, `content_filter` |
| usage | by Anthropic's buckets: what was cached is not in `input_tokens` | by OpenAI's: it is in `prompt_tokens` |
| what has no place there | the call fails rather than lose it: calls of custom tools, calls that come interleaved | \
the same: blocks of tools that Anthropic runs |

Streams are translated event by event, as they come. The header `anthropic-beta` goes to no provider of another
protocol: what it opens are fields, each of which is judged by itself. `POST /v1/messages/count_tokens` is answered by
Anthropic's providers; for others `input_tokens` is an estimate, and `asahi.estimated` says so.
"""


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    parts += ["\n## A question to `/v1/responses`, a provider that does not speak them\n", *_tables(FROM_RESPONSES)]
    parts += ["\n## OpenAI's question, Anthropic's provider\n", *_tables(FROM_OPENAI)]
    parts += ["\n## Anthropic's question, OpenAI's provider\n", *_tables(FROM_ANTHROPIC), _ANSWERS]
    return "".join(parts)


def _tables(table: Table) -> Iterator[str]:
    whole = {name: entry for name, entry in table.items() if isinstance(entry, Entry)}
    for name, entries in table.items():
        if isinstance(entries, Entry):
            continue
        yield f"\n### `{name}`\n\n| field | becomes | how |\n| --- | --- | --- |\n"
        for field, entry in entries.items():
            yield f"| `{field}` | {entry.fate.value} | {_note(entry)} |\n"
    yield "\n### Refused as a whole\n\n| kind | why |\n| --- | --- |\n"
    for name, entry in whole.items():
        yield f"| `{name.replace('*', '…')}` | {entry.note} |\n"


def _note(entry: Entry) -> str:
    if entry.fate == Fate.NEUTRAL:
        return ", ".join(f"`{json.dumps(value)}`" for value in entry.values)
    return entry.note


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
