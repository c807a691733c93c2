"""Answered questions in the database of outcomes, on the same thread: both are written and read by one service."""

import struct
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from sys import intern
from typing import Any

from sqlalchemy import Connection, Exists, RowMapping, case, delete, exists, func, select, tuple_, update

from asahi_core.sql.upserts import insert_of
from asahi_router.domain.examples import Chance, Example, Judged, Pair
from asahi_router.domain.form import FORM_SIZE
from asahi_router.domain.signals import Answers
from asahi_router.stores import erasures
from asahi_router.stores.tables import EXAMPLES, OUTCOMES, storable

_FORM = struct.Struct(f"<{FORM_SIZE}f")
_SAME = (OUTCOMES.c.organization_id == EXAMPLES.c.organization_id) & (OUTCOMES.c.request_id == EXAMPLES.c.request_id)


def keep(connection: Connection, examples: Sequence[Example]) -> None:
    """Keeps them; one that is there already stays as it is, one from before an erasure is not kept."""
    erased = erasures.when(connection, to_write=True)
    kept = [one for one in examples if (at := erased.get(one.organization_id)) is None or one.answered_at > at]
    if kept:
        connection.execute(
            insert_of(connection, EXAMPLES).on_conflict_do_nothing(), [_row(example) for example in kept]
        )


def judged(connection: Connection, since: datetime, most: int, organization_id: str) -> list[Judged]:
    """Those of an organisation, or (empty) of all, that somebody judged at `since` or later, the earliest first.

    Those with another form are left out.
    """
    last = func.max(OUTCOMES.c.recorded_at).label("judged_at")
    changed = select(OUTCOMES.c.organization_id, OUTCOMES.c.request_id).where(OUTCOMES.c.recorded_at >= since)
    if organization_id:
        changed = changed.where(OUTCOMES.c.organization_id == organization_id)
    query = (
        select(EXAMPLES, func.avg(OUTCOMES.c.score).label("score"), last)
        .join(OUTCOMES, _SAME)
        .where(
            tuple_(EXAMPLES.c.organization_id, EXAMPLES.c.request_id).in_(changed),
            OUTCOMES.c.score.is_not(None),
            func.length(EXAMPLES.c.form) == _FORM.size,
        )
        .group_by(*EXAMPLES.c)
        .order_by(last)
        .limit(most)
    )
    return [_judged(row) for row in connection.execute(query).mappings()]


def signalled(connection: Connection, since: datetime, most: int, organization_id: str) -> list[Example]:
    """Those answered then or later with a signal that nobody judged, of an organisation, or (empty) of all.

    The earliest first. Those with another form are left out.
    """
    query = (
        select(EXAMPLES)
        .where(
            EXAMPLES.c.answered_at >= since,
            EXAMPLES.c.signal != "",
            func.length(EXAMPLES.c.form) == _FORM.size,
            ~_scored(),
        )
        .order_by(EXAMPLES.c.answered_at)
        .limit(most)
    )
    if organization_id:
        query = query.where(EXAMPLES.c.organization_id == organization_id)
    return [_example(row) for row in connection.execute(query).mappings()]


def keep_pairs(connection: Connection, pairs: Sequence[Pair]) -> None:
    """Keeps compared answers, as `keep` does."""
    erased = erasures.when(connection, to_write=True)
    kept = [
        pair
        for pair in pairs
        if (at := erased.get(pair.example.organization_id)) is None or pair.example.answered_at > at
    ]
    if kept:
        rows = [
            _row(pair.example)
            | {
                "given_model": pair.given_model,
                "given_tokens": pair.given_tokens,
                "difference": pair.difference,
                "judge": pair.judge,
            }
            for pair in kept
        ]
        connection.execute(insert_of(connection, EXAMPLES).on_conflict_do_nothing(), rows)


def pairs(connection: Connection, since: datetime, most: int, organization_id: str) -> list[Pair]:
    """Those answered then or later, of an organisation, or (empty) of all, the earliest first.

    Those with another form are left out.
    """
    query = (
        select(EXAMPLES)
        .where(
            EXAMPLES.c.answered_at >= since,
            EXAMPLES.c.given_model != "",
            func.length(EXAMPLES.c.form) == _FORM.size,
        )
        .order_by(EXAMPLES.c.answered_at)
        .limit(most)
    )
    if organization_id:
        query = query.where(EXAMPLES.c.organization_id == organization_id)
    return [
        Pair(_example(row), intern(row["given_model"]), row["given_tokens"], row["difference"], intern(row["judge"]))
        for row in connection.execute(query).mappings()
    ]


def signal(connection: Connection, organization_id: str, request_id: str, signal: str) -> None:
    """Notes a signal of an answer that has none."""
    connection.execute(
        update(EXAMPLES)
        .where(
            EXAMPLES.c.organization_id == organization_id,
            EXAMPLES.c.request_id == request_id,
            EXAMPLES.c.signal == "",
        )
        .values(signal=signal)
    )


def answers(connection: Connection, organization_id: str, since: datetime) -> list[Answers]:
    """How many answers an organisation got then or later, by model, with a signal and without."""
    failed, judged = (EXAMPLES.c.signal != "").label("failed"), case((_scored(), 1), else_=0)
    query = (
        select(EXAMPLES.c.model, failed, func.count(), func.sum(judged))
        .where(
            EXAMPLES.c.organization_id == organization_id,
            EXAMPLES.c.answered_at >= since,
            EXAMPLES.c.given_model == "",
        )
        .group_by(EXAMPLES.c.model, failed)
    )
    return [Answers(row[0], bool(row[1]), int(row[2]), int(row[3])) for row in connection.execute(query)]


def _scored() -> Exists:
    return exists().where(_SAME, OUTCOMES.c.score.is_not(None))


def forget_unjudged(connection: Connection, before: datetime) -> None:
    """Drops what was answered before that and neither judged nor compared."""
    told = exists().where(_SAME)
    connection.execute(delete(EXAMPLES).where(EXAMPLES.c.answered_at < before, EXAMPLES.c.given_model == "", ~told))


def _row(example: Example) -> dict[str, Any]:
    return {
        "organization_id": example.organization_id,
        "request_id": example.request_id,
        "model": example.model,
        "form": _FORM.pack(*example.form),
        "embedding": example.embedding,
        "asked_bytes": example.asked_bytes,
        "output_tokens": example.output_tokens,
        "answered_at": example.answered_at,
        "user_id": storable(example.user_id),
        "signal": example.signal,
        "shared": example.shared,
        "baseline": example.chance.baseline if example.chance else "",
        "propensity": example.chance.propensity if example.chance else 1.0,
        "least": example.chance.least if example.chance else 0.0,
        "among": example.chance.among if example.chance else "",
    }


def _judged(row: RowMapping) -> Judged:
    return Judged(_example(row), float(row["score"]), row["judged_at"].replace(tzinfo=UTC))


def _example(row: RowMapping) -> Example:
    return Example(
        intern(row["organization_id"]),
        row["request_id"],
        intern(row["model"]),
        array("f", _FORM.unpack(row["form"])),  # a tenth of what as many floats take
        row["embedding"],
        row["asked_bytes"],
        row["output_tokens"],
        row["answered_at"].replace(tzinfo=UTC),
        chance=Chance(row["baseline"], row["propensity"], row["least"], row["among"]) if row["baseline"] else None,
        signal=row["signal"],
        shared=row["shared"],
    )
