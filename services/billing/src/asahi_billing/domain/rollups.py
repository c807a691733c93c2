"""Rollups: figures by hour and by day, over one dimension at a time, and what a group of new records adds to them.

Days are for speed alone: a day's rollup is the sum of its hours'. The number of values that a dimension has in a day is
bounded by whoever writes (`MOST_VALUES`, `MOST_TAG_NAMES`); those beyond are summed up as `OTHER`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from asahi.billing.v1.billing_pb2 import UsageRecord
from asahi_billing.domain.figures import Figures, figures_of

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
GRAINS = (1, 24)
"""Hours that a rollup covers."""
ALL = "all"
TECHNIQUE = "technique"
REPRICING = "repricing"
"""Among the techniques: what costs turned out to be above, or below, what was recorded."""
WORK = "work"
"""Task type and model together, for advice; its values are made by `work_value`."""
TAG_NAMES = "tag"
"""The names of tags; `tag:NAME` is the dimension of a tag's values."""
TAG = "tag:"
PLAIN = {
    "model": "model",
    "provider": "provider",
    "task_type": "task_type",
    "user": "user_id",
    "api_key": "api_key_id",
}
"""Dimensions that are a field of the record."""
MOST_VALUES = 1000
MOST_TAG_NAMES = 10
OTHER = "other"
_LONGEST_VALUE = 200
_KEPT = 160
_BETWEEN = "\x1f"


class RollupKey(NamedTuple):
    """Which rollup; sorts in the order in which rollups are written."""

    organization_id: str
    dimension: str
    hours: int
    """1 or 24."""
    start_ns: int
    """A full hour, or midnight, UTC."""
    value: str


class SketchKey(NamedTuple):
    """Which sketch of latencies."""

    organization_id: str
    hours: int
    start_ns: int
    model: str
    tier: int
    """0: no cache tier answered."""


@dataclass(frozen=True, slots=True)
class Additions:
    """What records add, by hour only; `by_grain` tells it by day as well."""

    rollups: dict[RollupKey, Figures] = field(default_factory=dict)
    latencies: dict[SketchKey, list[float]] = field(default_factory=dict)
    """Milliseconds of answered requests."""

    def add(self, record: UsageRecord, *, repeats_answer: bool) -> None:
        """Adds a record that is new to the ledger."""
        at_ns = record.occurred_at.seconds * 1_000_000_000 + record.occurred_at.nanos
        start_ns = at_ns - at_ns % HOUR_NS
        figures = figures_of(record, repeats_answer=repeats_answer)
        parts = figures.parts()
        for dimension, value in _dimensions(record):
            self._add(RollupKey(record.organization_id, dimension, 1, start_ns, value), parts)
        for saving in record.savings:
            key = RollupKey(record.organization_id, TECHNIQUE, 1, start_ns, bounded(saving.technique))
            self._add(key, [("saved_nanos", saving.nanos), ("requests", figures.requests)])
        if figures.requests:
            sketch = SketchKey(record.organization_id, 1, start_ns, bounded(record.model), record.cache_tier)
            self.latencies.setdefault(sketch, []).append(record.latency_ms)

    def adjust(self, record: UsageRecord, nanos: int) -> None:
        """Adds what a repricing adds to the cost of a record that is in the ledger."""
        at_ns = record.occurred_at.ToNanoseconds()
        start_ns = at_ns - at_ns % HOUR_NS
        parts: list[tuple[str, float]] = [("cost_nanos", nanos)]
        if record.orphan:
            parts.append(("orphan_nanos", nanos))
        if record.HasField("cost_original_nanos"):
            parts.append(("compared_nanos", nanos))
            technique = RollupKey(record.organization_id, TECHNIQUE, 1, start_ns, REPRICING)
            self._add(technique, [("saved_nanos", -nanos)])
        for dimension, value in _dimensions(record):
            self._add(RollupKey(record.organization_id, dimension, 1, start_ns, value), parts)

    def _add(self, key: RollupKey, parts: list[tuple[str, float]]) -> None:
        known = self.rollups.get(key)
        if known is None:
            self.rollups[key] = known = Figures()
        known.add_parts(parts)


def day_of(start_ns: int) -> int:
    """The midnight, UTC, before an instant."""
    return start_ns - start_ns % DAY_NS


def bounded(value: str) -> str:
    """A value short enough for an index; a long one keeps its beginning and a digest of the whole."""
    value = value.replace("\0", "\ufffd")
    if len(value) <= _LONGEST_VALUE:
        return value
    digest = hashlib.blake2b(value.encode(), digest_size=8).hexdigest()
    return f"{value[:_KEPT]}…{digest}"


def work_value(task_type: str, model: str) -> str:
    """The value of dimension `WORK`."""
    return f"{task_type}{_BETWEEN}{model}"


def work_of(value: str) -> tuple[str, str]:
    """Task type and model of a value of dimension `WORK`."""
    task_type, _, model = value.partition(_BETWEEN)
    return task_type, model


def _dimensions(record: UsageRecord) -> Iterator[tuple[str, str]]:
    yield ALL, ""
    for dimension, name in PLAIN.items():
        yield dimension, bounded(getattr(record, name))
    yield WORK, bounded(work_value(record.task_type, record.model))
    for name, value in record.tags.items():
        yield TAG_NAMES, bounded(name)
        yield TAG + bounded(name), bounded(value)
