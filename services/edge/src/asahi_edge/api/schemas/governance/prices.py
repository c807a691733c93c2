"""Bodies of `/governance/prices`."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Moment, described

ServiceTierName = Literal["standard", "batch", "flex", "priority", "fast"]
PerMillion = Annotated[float, Meta(ge=0)]
Factor = Annotated[float, Meta(ge=0, le=10)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class RatesBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Dollars a million tokens, for prompts of any size; at most nine decimals."""

    input: Annotated[PerMillion, described("Input tokens.")]
    output: Annotated[PerMillion, described("Output tokens, reasoning included.")]
    cache_read: Annotated[PerMillion | None, described("Read from the provider's cache; default: as `input`.")] = None
    cache_write_5m: Annotated[PerMillion | None, described("Written to it for five minutes; default: as `input`.")] = (
        None
    )
    cache_write_1h: Annotated[
        PerMillion | None, described("Written to it for an hour; default: as `cache_write_5m`.")
    ] = None


class PriceBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """The price of some models for some days: `rates` or `factor`."""

    models: Annotated[str, described("Pattern of model ids, as gpt-6-*.", min_length=1, max_length=200)]
    rates: Annotated[RatesBody | None, described("Absolute; prices models that have no list price, too.")] = None
    factor: Annotated[Factor | None, described("On the list price: 0.85 is 15 % off.")] = None
    since: Annotated[Day | None, described("The first day, UTC; null: always until `until`.")] = None
    until: Annotated[Day | None, described("The first day after it, UTC; null: for good.")] = None
    service_tier: Annotated[ServiceTierName | None, described("The one tier that it prices; null: all.")] = None


class PricesBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """An organization's own prices, all of them. Of several that hold, the last counts, alone."""

    prices: Annotated[list[PriceBody], described("The prices; none: the list prices hold.", max_length=1000)]
    version: Annotated[Count | UnsetType, described("The version that they must still have; absent: any.")] = UNSET


class RatesView(Struct, kw_only=True):
    """Dollars a million tokens."""

    input: Annotated[Dollars, described("Input tokens.")]
    output: Annotated[Dollars, described("Output tokens.")]
    cache_read: Annotated[Dollars, described("Read from the provider's cache.")]
    cache_write_5m: Annotated[Dollars, described("Written to it for five minutes.")]
    cache_write_1h: Annotated[Dollars, described("Written to it for an hour.")]


class PriceView(Struct, kw_only=True):
    """The price of some models for some days."""

    models: Annotated[str, described("Pattern of model ids.")]
    rates: Annotated[RatesView | None, described("Absolute.")]
    factor: Annotated[float | None, described("On the list price.")]
    since: Annotated[str | None, described("The first day, UTC.")]
    until: Annotated[str | None, described("The first day after it, UTC.")]
    service_tier: Annotated[str | None, described("The one tier that it prices; null: all.")]


class Prices(Struct, kw_only=True):
    """An organization's own prices over the list prices."""

    organization_id: Annotated[str, described("Whose prices they are.")]
    version: Annotated[Count, described("Counts up with every change; 0: there never were any.")]
    updated_at: Annotated[Moment | None, described("When they were set.")]
    updated_by: Annotated[str | None, described("Who set them.")]
    prices: Annotated[list[PriceView], described("The prices; of several that hold, the last counts, alone.")]


class PricesAnswer(Struct):
    """An organization's own prices."""

    data: Annotated[Prices, described("The prices.")]


class RepricingBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """Calls that were recorded at a price that was wrong."""

    organization_id: Annotated[str, described("Whose calls.", min_length=1)]
    start: Annotated[Moment, described("Calls answered from then on, RFC 3339.")]
    end: Annotated[Moment, described("Until then, exclusive; at most now.")]
    models: Annotated[str, described("Pattern of model ids.", max_length=200)] = "*"
    dry_run: Annotated[bool, described("Whether to book nothing and say what would be booked.")] = False


class RepricingView(Struct, kw_only=True):
    """What a repricing booked: counter-entries; records stay as they are."""

    organization_id: Annotated[str, described("Whose calls.")]
    repricing_id: Annotated[str | None, described("Names the counter-entries; null: none were booked.")]
    dry_run: Annotated[bool, described("Whether nothing was booked.")]
    calls: Annotated[Count, described("Calls that were looked at.")]
    changed_calls: Annotated[Count, described("Calls whose cost changed.")]
    difference: Annotated[Dollars, described("Dollars; negative: they cost less than was recorded.")]
    price_unknown_calls: Annotated[Count, described("Calls that still have no known price.")]
    price_version: Annotated[str, described("The prices that were used.")]


class RepricingAnswer(Struct):
    """A repricing."""

    data: Annotated[RepricingView, described("What it booked.")]
