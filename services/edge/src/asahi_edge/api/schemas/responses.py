"""OpenAI's question to `/v1/responses`, as far as Asahi checks it: kinds of values; the rest is the translation's."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from asahi_edge.api.schemas.fields import described

_Positive = Annotated[int, Meta(ge=1, le=2**53)]


class ResponseTool(Struct):
    """A tool; what else it has goes to the provider."""

    type: Annotated[str, described("`function`, or a tool of the provider's.", examples=["function"])]


class ResponsesBody(Struct, kw_only=True):
    """A question, or a conversation to go on with. What no provider can be told is refused by name."""

    input: Annotated[
        Annotated[str, Meta(min_length=1)] | Annotated[list[dict[str, Any]], Meta(min_length=1)],
        described("What is asked: a text, or items as OpenAI has them."),
    ]
    model: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        described(
            "Absent, `asahi` or `auto`: Asahi chooses. `asahi/low`, `asahi/medium`, `asahi/high`, `asahi/max`: of at "
            "least that quality. Any other: that model."
        ),
    ] = None
    instructions: Annotated[str | None, described("What the model is told first.")] = None
    stream: Annotated[bool | None, described("Answer in server-sent events.")] = None
    max_output_tokens: Annotated[
        _Positive | None, described("Tokens that the answer may have at most, reasoning included.")
    ] = None
    temperature: Annotated[float | None, described("Sampling temperature, 0 to 2.", examples=[1])] = None
    top_p: Annotated[float | None, described("Nucleus sampling: share of the probability, 0 to 1.", examples=[1])] = (
        None
    )
    text: Annotated[dict[str, Any] | None, described("`format` of the answer: text, JSON, JSON of a schema.")] = None
    tools: Annotated[
        list[ResponseTool] | None,
        described("What the model may use: functions that the caller runs, and what the provider has."),
    ] = None
    tool_choice: Annotated[str | dict[str, Any] | None, described("Whether and which.", examples=["auto"])] = None
    parallel_tool_calls: Annotated[bool | None, described("Whether several at once.")] = None
    reasoning: Annotated[dict[str, Any] | None, described("`effort`: how long the model thinks.")] = None
    include: Annotated[list[str] | None, described("Only `reasoning.encrypted_content`, which is always there.")] = None
    metadata: Annotated[dict[str, Any] | None, described("Labels, which the answer repeats.")] = None
    store: Annotated[
        bool | None,
        described("Whether the response is kept, for the policy's `retention.responses_days`. Absent: it is."),
    ] = None
    previous_response_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        described("A kept response that this question goes on with, whichever provider answered it."),
    ] = None
    background: Annotated[bool | None, described("`true` is refused: such an answer's cost is never known.")] = None
    conversation: Annotated[str | dict[str, Any] | None, described("Refused: go on with `previous_response_id`.")] = (
        None
    )
    user: Annotated[str | None, described("The end user, for usage and limits.")] = None
    organization_id: Annotated[str | None, described("Must be the key's organization.")] = None


class InputItemList(Struct, kw_only=True):
    """What a kept response was asked, with all that was said before it."""

    object: Annotated[str, described("Always `list`.")] = "list"
    data: Annotated[list[dict[str, Any]], described("Items as OpenAI has them, each with an id.")]
    first_id: Annotated[str | None, described("Id of the first item here.")]
    last_id: Annotated[str | None, described("Id of the last item here; `after` of the next page.")]
    has_more: Annotated[bool, described("Whether there are more.")]


class DeletedResponse(Struct, kw_only=True):
    """A response that is kept no longer."""

    id: Annotated[str, described("Its id.")]
    object: Annotated[str, described("Always `response`.")] = "response"
    deleted: Annotated[bool, described("Always true.")] = True
