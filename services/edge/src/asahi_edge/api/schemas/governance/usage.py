"""Bodies of `/governance/usage`."""

from typing import Annotated

from msgspec import Struct

from asahi_edge.api.json import Dollars
from asahi_edge.api.schemas.fields import Count, Moment, described, one_of
from asahi_edge.api.schemas.governance.budgets import BudgetStanding


class Usage(Struct, kw_only=True):
    """What an organization used in a calendar period."""

    organization_id: Annotated[str, described("Whose usage it is.")]
    period: Annotated[str, one_of("As asked.", "day", "month")]
    timezone: Annotated[str, described("The policy's time zone, an IANA name; days and months are its.")]
    start: Annotated[Moment, described("Beginning of the day or month.")]
    end: Annotated[Moment, described("Now.")]
    requests: Annotated[Count, described("Requests answered.")]
    tokens_input: Annotated[Count, described("Tokens of questions, cached ones included.")]
    tokens_input_cached: Annotated[Count, described("Tokens of `tokens_input` read from providers' own caches.")]
    tokens_output: Annotated[Count, described("Tokens of answers.")]
    cost: Annotated[Dollars, described("Dollars spent.")]
    savings: Annotated[Dollars, described("Dollars saved; may be negative.")]
    budget_left: Annotated[
        Dollars | None, described("Dollars left of the tightest budget of the organization; null: it has none.")
    ]
    budgets: Annotated[list[BudgetStanding], described("How budgets stand, those of keys included.")]


class UsageAnswer(Struct):
    """What an organization used."""

    data: Annotated[Usage, described("The usage.")]
