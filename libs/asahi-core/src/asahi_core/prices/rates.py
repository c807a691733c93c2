"""Rates of one call, and the arithmetic: tokens times rates, summed exactly, rounded half up once."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from fractions import Fraction

from asahi.type.v1.usage_pb2 import Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class MediaRates:
    """Nano-dollars a million tokens that are not text. None: not known; audio never counts as text."""

    input_image: int
    cache_read_image: int
    output_image: int
    input_audio: int | None = None
    cache_read_audio: int | None = None
    output_audio: int | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars a million tokens, by bucket."""

    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    media: MediaRates | None = None
    """None: images cost what text costs, and audio has no known price."""
    web_search: int | None = None
    """Nano-dollars a million searches; None: not known."""

    def cost_nanos(self, usage: Usage) -> int:
        """What the buckets of `usage` cost at these rates as text, rounded half up to a nano-dollar once."""
        return _rounded(self._exact(usage))

    def detailed_cost_nanos(self, usage: Usage) -> int | None:
        """The same with audio, images and searches at their own rates; None: one of them was used and has none."""
        details = usage.details
        media = self.media or MediaRates(self.input, self.cache_read, self.output)
        parts = (
            (usage.input_tokens, details.input_audio_tokens, self.input, media.input_audio),
            (usage.input_tokens, details.input_image_tokens, self.input, media.input_image),
            (usage.cache_read_tokens, details.cache_read_audio_tokens, self.cache_read, media.cache_read_audio),
            (usage.cache_read_tokens, details.cache_read_image_tokens, self.cache_read, media.cache_read_image),
            (usage.output_tokens, details.output_audio_tokens, self.output, media.output_audio),
            (usage.output_tokens, details.output_image_tokens, self.output, media.output_image),
            (details.web_searches, details.web_searches, 0, self.web_search),
        )
        exact = self._exact(usage)
        for whole, told, rate, own in parts:
            tokens = min(told, whole)
            if tokens > 0:
                if own is None:
                    return None
                exact += tokens * (own - rate)
        return _rounded(exact)

    def _exact(self, usage: Usage) -> int:
        return (
            usage.input_tokens * self.input
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_5m_tokens * self.cache_write_5m
            + usage.cache_write_1h_tokens * self.cache_write_1h
            + usage.output_tokens * self.output
        )

    def all(self) -> Iterator[int]:
        """Every rate that is known."""
        yield from (self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output)
        if self.media is not None:
            yield from (rate for rate in astuple(self.media) if rate is not None)
        if self.web_search is not None:
            yield self.web_search

    def times(self, factor: Fraction) -> "Rates":
        """These rates at a discount: each times `factor`, rounded half up to a nano-dollar a million tokens."""

        def scaled(rate: int) -> int:
            return (2 * rate * factor.numerator + factor.denominator) // (2 * factor.denominator)

        def known(rate: int | None) -> int | None:
            return None if rate is None else scaled(rate)

        media = self.media
        return Rates(
            input=scaled(self.input),
            cache_read=scaled(self.cache_read),
            cache_write_5m=scaled(self.cache_write_5m),
            cache_write_1h=scaled(self.cache_write_1h),
            output=scaled(self.output),
            media=media
            and MediaRates(
                input_image=scaled(media.input_image),
                cache_read_image=scaled(media.cache_read_image),
                output_image=scaled(media.output_image),
                input_audio=known(media.input_audio),
                cache_read_audio=known(media.cache_read_audio),
                output_audio=known(media.output_audio),
            ),
            web_search=known(self.web_search),
        )


def _rounded(exact: int) -> int:
    return (exact + _MILLION // 2) // _MILLION if exact > 0 else 0
