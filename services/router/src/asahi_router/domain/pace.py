"""How many tokens a model has written after so much time: how far an answer had got of which nothing came yet."""

from dataclasses import dataclass

_KEPT = 0.99
_SPREAD = 0.25
_MOST_TIMES_FASTER = 10
"""Than expected, past the mean of all calls: what is found to be faster says nothing about long answers."""


@dataclass(slots=True)
class Pace:
    """Tokens by time: a line through past calls (least squares), old ones forgotten slowly.

    Its slope is held to what was expected, stretched to fit the calls' mean, as if one call more had said so whose
    answer was a quarter longer than the mean: a few calls of about the same length say little about the slope.
    """

    expected_first_ms: float = 0.0
    expected_token_ms: float = 0.0
    """0: nothing was expected."""
    weight: float = 0.0
    tokens: float = 0.0
    ms: float = 0.0
    tokens_tokens: float = 0.0
    tokens_ms: float = 0.0

    def expect(self, first_ms: float, token_ms: float) -> None:
        """What holds until calls say more."""
        self.expected_first_ms, self.expected_token_ms = first_ms, token_ms

    def learn(self, tokens: int, ms: float) -> None:
        """A call whose whole answer took `ms`."""
        if tokens <= 0 or ms <= 0:
            return
        self.weight = _KEPT * self.weight + 1
        self.tokens = _KEPT * self.tokens + tokens
        self.ms = _KEPT * self.ms + ms
        self.tokens_tokens = _KEPT * self.tokens_tokens + tokens * tokens
        self.tokens_ms = _KEPT * self.tokens_ms + tokens * ms

    def tokens_in(self, ms: float) -> float:
        """Tokens that are written `ms` after the start of a call."""
        if self.weight == 0:
            return (ms - self.expected_first_ms) / self.expected_token_ms if self.expected_token_ms else 0.0
        mean_tokens, mean_ms = self.tokens / self.weight, self.ms / self.weight
        expected = mean_ms / mean_tokens
        if self.expected_token_ms:
            expected_ms = self.expected_first_ms + mean_tokens * self.expected_token_ms
            expected = self.expected_token_ms * mean_ms / expected_ms
        variance = self.tokens_tokens - mean_tokens * self.tokens
        covariance = self.tokens_ms - mean_tokens * self.ms
        held = (mean_tokens * _SPREAD) ** 2
        token_ms = (covariance + held * expected) / (variance + held)
        if token_ms <= 0:
            token_ms = expected
        if ms > mean_ms:
            token_ms = max(token_ms, self.expected_token_ms / _MOST_TIMES_FASTER)
        return (ms - mean_ms) / token_ms + mean_tokens
