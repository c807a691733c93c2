"""Changes worth money: what the figures of a time say about models, cache, prices and calls that nobody got.

A saving is what the change would have saved over that time; where usage cannot tell, it is absent, never guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asahi.billing.v1.analytics_pb2 import ModelQuality
from asahi.type.v1.policy_pb2 import Policy
from asahi.type.v1.usage_pb2 import Usage
from asahi_billing.domain.figures import Figures
from asahi_billing.domain.rules import TOKEN_FIELDS
from asahi_core.money import dollars
from asahi_core.prices import PriceBook

Work = tuple[str, str]
"""Task type and model."""
_WORTH_SHARE = 0.05
_WORTH_NANOS = 10_000_000
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Usages:
    """What advice is made from."""

    total: Figures
    before: Figures
    """Of the 90 days before the time asked for."""
    by_work: Mapping[Work, Figures]
    by_model: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Advice:
    """A change."""

    kind: str
    title: str
    evidence: str
    saving_nanos: int | None = None
    policy: dict[str, Any] = field(default_factory=dict)
    """The change of the policy that does it; empty: none does."""


def advise(
    usages: Usages, policy: Policy | None, models: Sequence[ModelQuality], prices: PriceBook, now: datetime
) -> list[Advice]:
    """Everything that would save something, largest first, those of unknown saving last. No policy: the defaults."""
    found = [
        *_cheaper_models(usages, policy or Policy(), models, prices, now),
        *(_cache(usages, policy) if policy is not None else ()),
        *_unknown_prices(usages.by_model),
        *_orphans(usages.total),
    ]
    return sorted(found, key=lambda one: -1 if one.saving_nanos is None else one.saving_nanos, reverse=True)


def _cheaper_models(
    usages: Usages, policy: Policy, models: Sequence[ModelQuality], prices: PriceBook, now: datetime
) -> Iterator[Advice]:
    quality = {one.model: dict(one.quality_by_task) for one in models}
    epsilon = policy.quality.epsilon
    by_model: dict[str, dict[str, Figures]] = {}
    for (task, model), figures in usages.by_work.items():
        by_model.setdefault(model, {})[task] = figures
    for model, tasks in by_model.items():
        better = {
            task: found
            for task, figures in tasks.items()
            if (found := _cheaper((task, model), figures, quality=quality, epsilon=epsilon, prices=prices, now=now))
            is not None
        }
        saving = sum(figures.cost_nanos - cost for figures, (_, cost) in _beside(tasks, better))
        spent = sum(figures.cost_nanos for figures in tasks.values())
        if saving < max(_WORTH_NANOS, _WORTH_SHARE * spent):
            continue
        told = "; ".join(
            f"{task}: {dollars(figures.cost_nanos)} $ in {figures.calls} calls, {dollars(better[task][1])} $ at "
            f"{better[task][0]} (quality {quality[better[task][0]][task]:g}, here {quality[model][task]:g})"
            for task, figures in sorted(tasks.items())
            if task in better
        )
        everywhere = all(task in better for task in tasks)
        others = [one.model for one in models if one.model != model]
        yield Advice(
            "cheaper_model",
            f"Use {' or '.join(sorted({found for found, _ in better.values()}))} in place of {model}"
            + ("." if everywhere else f" for {', '.join(sorted(better))}: name no model there.")
            + (" Callers who name it are then refused: they should name none." if everywhere else ""),
            f"The same tokens at the cheapest model that is as good (to {epsilon:.0%}): {told}.",
            saving,
            {"allowed_models": others} if everywhere and others else {},
        )


def _beside(
    tasks: Mapping[str, Figures], better: Mapping[str, tuple[str, int]]
) -> Iterator[tuple[Figures, tuple[str, int]]]:
    return ((tasks[task], found) for task, found in better.items())


def _cheaper(
    work: Work,
    figures: Figures,
    *,
    quality: Mapping[str, Mapping[str, float]],
    epsilon: float,
    prices: PriceBook,
    now: datetime,
) -> tuple[str, int] | None:
    """The cheapest model at least as good at a work's task, and what it would have cost; None: the work's own is."""
    task, model = work
    own = quality.get(model, {}).get(task)
    if own is None or not figures.calls or figures.price_unknown_calls:
        return None
    mean = Usage(**{name: round(getattr(figures, name) / figures.calls) for name in TOKEN_FIELDS})
    costs = [
        (cost * figures.calls, other)
        for other, tasks in quality.items()
        if other != model and tasks.get(task, -1.0) >= own * (1 - epsilon)
        if (cost := prices.cost_nanos(other, mean, now)) is not None
    ]
    if not costs or min(costs)[0] >= figures.cost_nanos:
        return None
    cost, found = min(costs)
    return found, cost


def _cache(usages: Usages, policy: Policy) -> Iterator[Advice]:
    total, before = usages.total, usages.before
    if not total.requests:
        return
    share = before.tier_1_hits / before.requests if before.requests else 0.0
    if 1 not in policy.cache.tiers:
        known = f"In the 90 days before, {share:.1%} of {before.requests} requests were answered by tier 1"
        yield Advice(
            "enable_cache",
            "Let the exact cache (tier 1) answer repeated requests.",
            f"{total.requests} requests cost {dollars(total.cost_nanos)} $, none could be answered by tier 1. "
            + (f"{known}; the saving is that share of the cost." if share else "How many repeat others is not known."),
            round(share * total.cost_nanos) if share else None,
            {"cache": {"tiers": sorted({1, *policy.cache.tiers})}},
        )
    elif policy.cache.ttl_seconds < _DAY_S and total.tier_1_hits:
        yield Advice(
            "longer_cache",
            "Keep answers for a day.",
            f"Answers are kept for {policy.cache.ttl_seconds} s, and {total.tier_1_hits} of {total.requests} requests "
            "repeated one within that time. How many more repeat one within a day cannot be told from usage.",
            None,
            {"cache": {"ttl_seconds": _DAY_S}},
        )


def _unknown_prices(by_model: Mapping[str, Figures]) -> Iterator[Advice]:
    for model, figures in sorted(by_model.items()):
        if figures.price_unknown_calls:
            tokens = figures.input_tokens + figures.cache_read_tokens + figures.output_tokens
            yield Advice(
                "unknown_price",
                f"Set a price of {model} (PUT /governance/prices/{{org_id}}): its cost is in no sum and no budget.",
                f"{figures.price_unknown_calls} calls with {tokens} tokens have no known price.",
            )


def _orphans(total: Figures) -> Iterator[Advice]:
    if total.orphan_nanos >= max(_WORTH_NANOS, total.cost_nanos // 1000):
        yield Advice(
            "orphans",
            "Find out why processes end in the middle of calls: their answers were paid for and reached nobody.",
            f"{dollars(total.orphan_nanos)} $ of {dollars(total.cost_nanos)} $ went to calls whose edge vanished.",
            total.orphan_nanos,
        )
