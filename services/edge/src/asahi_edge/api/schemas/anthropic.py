"""Anthropic's messages request, as far as Asahi checks it: kinds of values, so that no provider is asked in vain.

What values mean, and fields that are not here, are the provider's to judge.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from asahi_edge.api.schemas.fields import Count, described

_Positive = Annotated[int, Meta(ge=1, le=2**53)]
_Short = Annotated[str, Meta(max_length=1000)]


class ContentBlock(Struct):
    """A block of what is said: text, an image, a tool's call or its result, thoughts."""

    type: Annotated[str, described("What it is.", examples=["text", "image", "tool_result"])]


class MessageTurn(Struct):
    """A turn of the conversation."""

    role: Annotated[str, described("Who speaks: `user`, `assistant` or `system`.", examples=["user"])]
    content: Annotated[
        str | list[ContentBlock],
        described("What is said: a text, or blocks (text, images, tools) as Anthropic has them."),
    ]


class CountTokensBody(Struct, kw_only=True):
    """A conversation whose tokens are to be counted. Fields that are not listed here are passed to the provider."""

    messages: Annotated[list[MessageTurn], described("The conversation, oldest first.", min_length=1)]
    model: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        described(
            "Absent, `asahi` or `auto`: Asahi chooses. `asahi/low`, `asahi/medium`, `asahi/high`, `asahi/max`: of at "
            "least that quality. Any other: that model."
        ),
    ] = None
    system: Annotated[str | list[ContentBlock] | None, described("Instructions: a text, or blocks.")] = None
    tools: Annotated[list[dict[str, Any]] | None, described("Tools that the model may ask to be called.")] = None
    tool_choice: Annotated[dict[str, Any] | None, described("Whether and which.", examples=[{"type": "auto"}])] = None
    thinking: Annotated[dict[str, Any] | None, described("How the model thinks before it answers.")] = None
    cache_control: Annotated[
        dict[str, Any] | None, described("Keeps the prompt in the provider's cache.", examples=[{"type": "ephemeral"}])
    ] = None
    output_config: Annotated[dict[str, Any] | None, described("The form of the answer: `format`, `effort`.")] = None
    organization_id: Annotated[str | None, described("Must be the key's organization.")] = None


class MessagesBody(CountTokensBody, kw_only=True):
    """A conversation to go on with. Fields that are not listed here are passed to the provider as they are."""

    max_tokens: Annotated[_Positive, described("Tokens that the answer may have at most, thoughts included.")]
    stream: Annotated[bool | None, described("Answer in server-sent events.")] = None
    stop_sequences: Annotated[list[str] | None, described("Texts that end the answer.")] = None
    temperature: Annotated[float | None, described("Sampling temperature, 0 to 1.", examples=[1])] = None
    top_p: Annotated[float | None, described("Nucleus sampling: share of the probability, 0 to 1.", examples=[1])] = (
        None
    )
    top_k: Annotated[int | None, described("Samples from the likeliest so many tokens.")] = None
    metadata: Annotated[
        dict[str, Any] | None, described("`user_id` names the end user, for usage and limits; not part of the key.")
    ] = None
    service_tier: Annotated[_Short | None, described("The provider's tier.", examples=["auto"])] = None


class CountObject(Struct, kw_only=True):
    """What Asahi says of a count of tokens."""

    request_id: Annotated[str, described("Asahi's id of the request.")]
    model: Annotated[str, described("The model whose tokens they are.")]
    provider: Annotated[str, described("Who serves it.")]
    estimated: Annotated[
        bool, described("Whether it is an estimate: the model's provider does not count tokens beforehand.")
    ]


class CountTokensAnswer(Struct, kw_only=True):
    """How many tokens a conversation has."""

    input_tokens: Annotated[Count, described("Tokens that the provider would count as input.")]
    asahi: Annotated[CountObject, described("Who counted.")]
