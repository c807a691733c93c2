"""OpenAI's question of embeddings, as far as Asahi checks it."""

from typing import Annotated

from msgspec import Meta, Struct

from asahi_edge.api.schemas.fields import described

MOST_INPUTS = 2048
_Token = Annotated[int, Meta(ge=0, le=2**31)]


class EmbeddingsBody(Struct, kw_only=True):
    """Texts to embed. Fields that are not listed here are passed to the provider as they are."""

    input: Annotated[
        str | list[str | list[_Token] | _Token],
        described(
            f"A text, or up to {MOST_INPUTS} of them, or each as the numbers of its tokens where the model takes them.",
            examples=[["How do I reset my password?"]],
        ),
    ]
    model: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        described(
            "Absent, `asahi` or `auto`: `all-MiniLM-L6-v2`, which is here without any key. Any other: that model."
        ),
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=1, le=2**31)] | None,
        described("Numbers of a vector, where the model can make shorter ones.", examples=[384]),
    ] = None
    encoding_format: Annotated[
        str | None,
        described("`float`: a list of numbers; `base64`: IEEE 754 binary32, little endian.", examples=["float"]),
    ] = None
    user: Annotated[str | None, described("The end user, for usage and limits.")] = None
    organization_id: Annotated[str | None, described("Must be the key's organization.")] = None
