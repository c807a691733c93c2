"""What providers report, through the code that reads it, to the nano-dollar that it costs.

`golden_usage.json`: each row has a body, an object or a list of events in the shape that its provider sends, and the
amount worked out from the published price (`source`): tokens × dollars a million, summed. `unknown`: the call was
counted, and no price of it is published. `unreported`: nothing was counted.
"""

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from asahi.type.v1.usage_pb2 import Usage, UsageSource
from asahi_core.clock import ManualClock
from asahi_core.prices import load_price_book
from asahi_router.providers.anthropic.dialect import Anthropic
from asahi_router.providers.dialect import Dialect
from asahi_router.providers.openai.answer import UsageBody, usage_of
from asahi_router.providers.openai.dialect import OpenAI
from asahi_router.providers.progress import Progress

_ROWS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden_usage.json").read_text())
_BOOK = load_price_book()


def _plain(dialect: Dialect, payload: Any) -> Usage | None:
    return dialect.summarize(msgspec.json.encode(payload)).usage


def _streamed(dialect: Dialect, events: Any) -> Usage | None:
    """What the body that all events make reports, as the client reads it; a translated stream must say the same."""
    reader, progress = dialect.stream_reader(), Progress(ManualClock())
    for event in events:
        reader.read(msgspec.json.encode(event), progress)
    told = dialect.summarize(reader.body()).usage
    if told is not None:
        assert progress.usage == told
    return told


def _reported(row: dict[str, Any]) -> Usage | None:
    match row["shape"]:
        case "chat":
            return _plain(OpenAI(), row["payload"])
        case "chat stream":
            return _streamed(OpenAI(), row["payload"])
        case "messages":
            return _plain(Anthropic(), row["payload"])
        case "messages stream":
            return _streamed(Anthropic(), row["payload"])
        case "responses" | "images":
            return usage_of(msgspec.convert(row["payload"], UsageBody), None)
        case shape:
            raise AssertionError(f"no such shape: {shape}")


def _worked_out(arithmetic: str) -> int:
    """`19 × 2.5 + 10 × 10` dollars a million, in nano-dollars."""
    terms = (term.split(" × ") for term in arithmetic.split(" + "))
    dollars_a_million = sum((Decimal(tokens) * Decimal(price) for tokens, price in terms), Decimal(0))
    return int((dollars_a_million * 1000).quantize(Decimal(1), ROUND_HALF_UP))


@pytest.mark.parametrize("row", _ROWS, ids=[row["name"] for row in _ROWS])
def test_a_reported_usage_costs_what_the_published_price_says(row: dict[str, Any]) -> None:
    usage = _reported(row)
    if row["arithmetic"] == "unreported":
        assert usage is None
        return
    assert usage is not None
    assert usage.source == UsageSource.USAGE_SOURCE_PROVIDER
    cost = _BOOK.cost_nanos(row["model"], usage, datetime.fromisoformat(row["on"]).replace(tzinfo=UTC))
    if row["arithmetic"] == "unknown":
        assert cost is None
        return
    assert _worked_out(row["arithmetic"]) == row["nanos"]
    assert cost == row["nanos"]


def test_there_are_enough_rows_and_each_names_its_source() -> None:
    assert len(_ROWS) >= 60
    assert len({row["name"] for row in _ROWS}) == len(_ROWS)
    assert all(row["source"].startswith("https://") for row in _ROWS)
    assert {row["shape"] for row in _ROWS} == {
        "chat", "chat stream", "responses", "messages", "messages stream", "images",
    }  # fmt: skip
