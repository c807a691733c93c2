"""Errors, in the shape of OpenAI's SDKs and in that of Anthropic's."""

from typing import Annotated, Literal

from msgspec import Struct

from asahi_edge.api.schemas.fields import described


class ErrorDetail(Struct, kw_only=True):
    """What went wrong, with which value, and what to do."""

    message: Annotated[str, described("For people: what was wrong, with which value, and what would be accepted.")]
    type: Annotated[str, described("The class of error that OpenAI's SDKs raise.", examples=["invalid_request_error"])]
    code: Annotated[str, described("For programs: what exactly it was.", examples=["no_model_satisfies"])]
    param: Annotated[str | None, described("The field or header at fault; null: none is.")]
    request_id: Annotated[str, described("Finds the request in the logs.")]


class ErrorBody(Struct):
    """An error."""

    error: Annotated[ErrorDetail, described("The error.")]


class AnthropicErrorDetail(Struct):
    """What went wrong, as Anthropic's SDKs read it."""

    type: Annotated[str, described("The class of error that Anthropic's SDKs raise.", examples=["not_found_error"])]
    message: Annotated[str, described("For people: what was wrong, with which value, and what would be accepted.")]


class AnthropicErrorBody(Struct, kw_only=True):
    """An error in Anthropic's shape."""

    type: Annotated[Literal["error"], described("Always `error`.")] = "error"
    error: Annotated[AnthropicErrorDetail, described("The error.")]
    request_id: Annotated[str, described("Finds the request in the logs.")]
