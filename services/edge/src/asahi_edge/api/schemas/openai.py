"""OpenAI's chat request, as far as Asahi checks it: kinds of values, so that no provider is asked in vain.

What values mean, and fields that are not here, are the provider's to judge.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from asahi_edge.api.schemas.fields import described

_Positive = Annotated[int, Meta(ge=1, le=2**53)]
_Short = Annotated[str, Meta(max_length=1000)]


class ContentPart(Struct):
    """A part of what is said: text, an image, a file."""

    type: Annotated[str, described("What it is.", examples=["text", "image_url"])]


class ChatMessage(Struct):
    """A turn of the conversation; beside these, the fields that OpenAI has for its role."""

    role: Annotated[
        str, described("Who speaks: `developer` or `system`, `user`, `assistant`, `tool`.", examples=["user"])
    ]
    content: Annotated[
        str | list[ContentPart] | None, described("What is said: a text, or parts (text, images) as OpenAI has them.")
    ] = None


class StreamOptions(Struct):
    """What a stream carries."""

    include_usage: Annotated[bool | None, described("One more event with the usage before the end.")] = None


class ChatBody(Struct, kw_only=True):
    """A conversation to go on with. Fields that are not listed here are passed to the provider as they are."""

    messages: Annotated[list[ChatMessage], described("The conversation, oldest first.", min_length=1)]
    model: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        described(
            "Absent, `asahi` or `auto`: Asahi chooses. `asahi/low`, `asahi/medium`, `asahi/high`, `asahi/max`: of at "
            "least that quality. Any other: that model."
        ),
    ] = None
    stream: Annotated[bool | None, described("Answer in server-sent events.")] = None
    stream_options: Annotated[StreamOptions | None, described("With `stream`.")] = None
    max_completion_tokens: Annotated[
        _Positive | None, described("Tokens that the answer may have at most, reasoning included.")
    ] = None
    max_tokens: Annotated[_Positive | None, described("The same, by its older name.")] = None
    n: Annotated[Annotated[int, Meta(ge=1, le=128)] | None, described("How many answers, 1 to 128.")] = None
    temperature: Annotated[float | None, described("Sampling temperature, 0 to 2.", examples=[1])] = None
    top_p: Annotated[float | None, described("Nucleus sampling: share of the probability, 0 to 1.", examples=[1])] = (
        None
    )
    presence_penalty: Annotated[float | None, described("−2 to 2.", examples=[0])] = None
    frequency_penalty: Annotated[float | None, described("−2 to 2.", examples=[0])] = None
    logit_bias: Annotated[dict[str, float] | None, described("By token: −100 to 100.")] = None
    logprobs: Annotated[bool | None, described("Adds log probabilities to the answer.")] = None
    top_logprobs: Annotated[int | None, described("With `logprobs`: how many alternatives, 0 to 20.")] = None
    seed: Annotated[int | None, described("Seed for repeatable sampling; 64 bits.")] = None
    stop: Annotated[str | list[str] | None, described("Up to four texts that end the answer.")] = None
    response_format: Annotated[dict[str, Any] | None, described("Text, JSON, or JSON of a schema.")] = None
    tools: Annotated[list[dict[str, Any]] | None, described("Functions that the model may ask to be called.")] = None
    tool_choice: Annotated[str | dict[str, Any] | None, described("Whether and which.", examples=["auto"])] = None
    parallel_tool_calls: Annotated[bool | None, described("Whether several at once.")] = None
    reasoning_effort: Annotated[_Short | None, described("How long the model thinks.", examples=["low"])] = None
    service_tier: Annotated[_Short | None, described("The provider's tier.", examples=["auto"])] = None
    metadata: Annotated[dict[str, Any] | None, described("Labels that the provider keeps; not part of the key.")] = None
    store: Annotated[bool | None, described("Whether the provider keeps the answer.")] = None
    user: Annotated[str | None, described("The end user, for usage and limits.")] = None
    organization_id: Annotated[str | None, described("Must be the key's organization.")] = None
