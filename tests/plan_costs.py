"""What answering about a document by a plan would cost, beside asking directly: `python -m tests.plan_costs`.

By list prices alone, with the document as a prefix that the provider has in its prompt cache, or has not. A figure is
the plan's cost over the direct way's: below 1 the plan is cheaper. Whether its answers are as good is not looked at.
"""

from datetime import UTC, datetime

from asahi.type.v1.usage_pb2 import Usage
from asahi_core.prices import PriceBook, load_price_book

_MODELS = ("gpt-6-luna", "claude-sonnet-5-5", "claude-haiku-5-5")
_DOCUMENTS = (2_000, 35_000)
_QUESTION, _ANSWER, _PARTS = 100, 400, 3
_DIGEST, _RELEVANT, _CHOICE = 0.1, 0.2, 50
"""The digest's and the relevant sections' share of the document; tokens that name sections."""
_QUESTIONS = 10
_AT = datetime(2026, 11, 1, tzinfo=UTC)


def _ratios(prices: PriceBook, model: str, size: int, *, kept: bool) -> list[float]:
    """Parts, parts of which all but one are known, a comparison, a digest; `kept`: the provider has the document."""

    def ask(tokens: float, out: float, *, kept: bool) -> int:
        usage = Usage(
            input_tokens=round(_QUESTION + (0 if kept else tokens)),
            cache_read_tokens=round(tokens if kept else 0),
            output_tokens=round(out),
        )
        nanos = prices.cost_nanos(model, usage, _AT)
        assert nanos is not None, model
        return nanos

    one, again = ask(size, _ANSWER, kept=kept), ask(size, _ANSWER, kept=True)
    whole = ask(size, _PARTS * _ANSWER, kept=kept)
    compared = one + again + ask(2 * _ANSWER, _ANSWER, kept=False)
    digest = ask(size, _DIGEST * size, kept=False) / _QUESTIONS
    digest += ask(_DIGEST * size, _CHOICE, kept=kept) + ask(_RELEVANT * size, _ANSWER, kept=False)
    return [(one + (_PARTS - 1) * again) / whole, one / whole, compared / one, digest / one]


def main() -> None:
    """Prints the table as docs/cache.md has it."""
    prices = load_price_book()
    print("| model | tokens | kept by the provider | parts | one part unknown | comparison | digest |")
    print("| --- | --: | --- | --: | --: | --: | --: |")
    for model in _MODELS:
        for size in _DOCUMENTS:
            for kept in (False, True):
                figures = " | ".join(f"{ratio:.2f}" for ratio in _ratios(prices, model, size, kept=kept))
                print(f"| {model} | {size:,} | {'yes' if kept else 'no'} | {figures} |")


if __name__ == "__main__":
    main()
