"""The table of OpenAI's responses has every field that the pinned official SDK can send."""

from openai.types.responses import response_create_params

from asahi_router.domain.translation.fates import entries_of
from asahi_router.domain.translation.from_responses import FROM_RESPONSES


def test_the_table_has_every_field_of_the_sdks_request() -> None:
    known = set(entries_of(FROM_RESPONSES, "request"))
    assert set(response_create_params.ResponseCreateParamsStreaming.__annotations__) <= known
    assert set(response_create_params.ResponseCreateParamsBase.__annotations__) <= known
