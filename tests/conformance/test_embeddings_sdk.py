"""OpenAI's SDK asks Asahi and the provider itself for embeddings: its user sees the same, from the cache as well."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import openai
import pytest

from tests.conformance import seen
from tests.conformance.places import Place

Question = dict[str, Any]
_SMALL = "text-embedding-3-small"
CASES: dict[str, Question] = {
    "a text": {"input": "How do I reset my password?"},
    "several texts": {"input": ["one", "two", "three"]},
    "a text twice": {"input": ["again", "and", "again"]},
    "unicode": {"input": ['Wie heißt 日本? 😀 \\ " \n\t']},
    "tokens": {"input": [101, 7, 2024]},
    "several in tokens": {"input": [[101, 7], [2024]]},
    "fewer numbers": {"input": "short", "dimensions": 64},
    "numbers": {"input": "as numbers", "encoding_format": "float"},
    "base64": {"input": ["as", "text"], "encoding_format": "base64"},
    "a larger model": {"input": "large", "model": "text-embedding-3-large"},
    "an older model": {"input": "old", "model": "text-embedding-ada-002"},
    "an end user": {"input": "whose", "user": "alice"},
    "two hundred texts": {"input": [f"text {number}" for number in range(200)]},
}
ERRORS: dict[str, Question] = {
    "an empty text": {"input": ""},
    "no texts": {"input": []},
    "too many numbers": {"input": "x", "dimensions": 5000},
    "a format that there is not": {"input": "x", "encoding_format": "int8"},
}


def _created(at: Place, question: Question) -> Any:
    with at.openai() as sdk:
        return seen.of(sdk.embeddings.create(**{"model": _SMALL, **question}))


def _raw(at: Place, question: Question) -> Any:
    with at.openai() as sdk:
        raw = sdk.embeddings.with_raw_response.create(**{"model": _SMALL, **question})
        return raw.status_code, raw.headers["content-type"], seen.of(raw.parse())


def _created_async(at: Place, question: Question) -> Any:
    async def create() -> Any:
        async with at.async_openai() as sdk:
            return seen.of(await sdk.embeddings.create(**{"model": _SMALL, **question}))

    return asyncio.run(create())


WAYS: dict[str, Callable[[Place, Question], Any]] = {
    "created": _created,
    "with headers": _raw,
    "created asynchronously": _created_async,
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")  # the SDK's type of base64 is a list
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_vectors_are_the_providers_new_and_from_the_cache(direct: Place, asahi: Place, case: str, way: str) -> None:
    expected = WAYS[way](direct, CASES[case])
    assert WAYS[way](asahi, CASES[case]) == expected
    assert WAYS[way](asahi, CASES[case]) == expected


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_of_the_same_class_and_name_the_same_field(direct: Place, asahi: Place, case: str) -> None:
    raised = []
    for place in (direct, asahi):
        with place.openai() as sdk, pytest.raises(openai.APIStatusError) as told:
            sdk.embeddings.create(**{"model": _SMALL, **ERRORS[case]})
        raised.append((type(told.value), told.value.status_code, told.value.param))
    assert len(set(raised)) == 1


def test_an_unknown_model_is_not_found(asahi: Place) -> None:
    with asahi.openai() as sdk, pytest.raises(openai.NotFoundError) as told:
        sdk.embeddings.create(model="text-embedding-9", input="x")
    assert told.value.code == "model_not_found"


def test_the_model_that_needs_no_key_embeds_for_the_sdk(asahi: Place) -> None:
    with asahi.openai() as sdk:
        told = sdk.embeddings.create(model="asahi", input=["near", "close by"])
    assert told.model == "all-MiniLM-L6-v2"
    assert np.linalg.norm([one.embedding for one in told.data], axis=1) == pytest.approx(1, abs=1e-4)
