"""How long models take: time to first token and tokens per second, by family of names."""

from dataclasses import dataclass

from asahi_core.globs import matches_any


@dataclass(frozen=True, slots=True)
class Pace:
    """When tokens come: the first after `first_token_s` seconds, each other `token_s` after the one before."""

    first_token_s: float
    token_s: float

    @property
    def waits(self) -> bool:
        """Whether any time passes at all."""
        return self.first_token_s > 0 or self.token_s > 0

    def due_s(self, token: int) -> float:
        """Seconds from the start until the `token`-th token (from 1) is there."""
        return self.first_token_s + (token - 1) * self.token_s

    def generated(self, elapsed_s: float, most: int | None) -> int:
        """Tokens that are there `elapsed_s` after the start, at most `most` (None: however many)."""
        if elapsed_s < self.first_token_s:
            return 0
        if self.token_s == 0:
            return most or 0
        tokens = 1 + int((elapsed_s - self.first_token_s) / self.token_s)
        return tokens if most is None else min(most, tokens)


_FAMILIES = (
    (("*nano*", "*lite*", "*luna*"), Pace(0.10, 1 / 450)),
    (("*mini*", "*haiku*", "*flash*", "*small*"), Pace(0.15, 1 / 350)),
    (("*opus*", "*pro", "*mythos*", "o1", "o3"), Pace(0.30, 1 / 220)),
)
_OTHERS = Pace(0.20, 1 / 260)


def pace_of(model: str, speed: float) -> Pace:
    """The pace of `model`, its times multiplied by `speed` (0: none)."""
    if speed == 0:
        return Pace(0.0, 0.0)
    pace = next((pace for patterns, pace in _FAMILIES if matches_any(model, patterns)), _OTHERS)
    return Pace(pace.first_token_s * speed, pace.token_s * speed)
