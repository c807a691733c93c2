"""The provider's own prompt cache: which prefixes of prompts were seen before, within this process."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from asahi_core.clock import Clock
from asahi_simulator.domain.completion import CacheTime, Prompt

_LEAST_TOKENS = 1024
_STEP_TOKENS = 128
_LOOKBACK_BLOCKS = 20
_LIFE_S: dict[CacheTime, float] = {"5m": 300.0, "1h": 3600.0}
_MOST_PREFIXES = 200_000


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of one prompt that were read from the cache, and written to it by life time."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class PromptCache:
    """Prefixes by digest, the least recently used forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._expires: OrderedDict[bytes, tuple[float, CacheTime]] = OrderedDict()

    def automatic(self, model: str, prompt: Prompt) -> CacheUse:
        """As OpenAI does: prefixes of 1024 tokens and more, in steps of 128, are remembered by themselves."""
        if len(prompt.pieces) < _LEAST_TOKENS:
            return CacheUse()
        positions = range(_LEAST_TOKENS, len(prompt.pieces) + 1, _STEP_TOKENS)
        prefixes = list(zip(positions, _digests(model, prompt.pieces, positions), strict=True))
        read = max((position for position, digest in prefixes if self._seen(digest)), default=0)
        for _, digest in prefixes:
            self._remember(digest, "5m")
        return CacheUse(read=read)

    def explicit(self, model: str, prompt: Prompt) -> CacheUse:
        """As Anthropic does: what lies before a breakpoint is written; a later prompt reads the longest such prefix.

        A prefix is looked for at each breakpoint and at the 20 blocks before it; below 1024 tokens nothing is cached.
        """
        breakpoints = [mark for mark in prompt.breakpoints if mark.position >= _LEAST_TOKENS]
        if not breakpoints:
            return CacheUse()
        candidates = sorted(_candidates(prompt, [mark.position for mark in breakpoints]))
        digests = dict(zip(candidates, _digests(model, prompt.pieces, candidates), strict=True))
        read = max((position for position in candidates if self._seen(digests[position])), default=0)
        written: dict[CacheTime, int] = {"5m": 0, "1h": 0}
        done = read
        for mark in breakpoints:
            written[mark.time] += max(0, mark.position - done)
            done = max(done, mark.position)
            self._remember(digests[mark.position], mark.time)
        return CacheUse(read, written["5m"], written["1h"])

    def clear(self) -> None:
        """Forgets everything."""
        self._expires.clear()

    def _seen(self, digest: bytes) -> bool:
        """Whether the prefix is remembered; reading it renews its life."""
        expires, time = self._expires.get(digest, (0.0, "5m"))
        if expires <= self._clock.monotonic():
            return False
        self._remember(digest, time)
        return True

    def _remember(self, digest: bytes, time: CacheTime) -> None:
        self._expires[digest] = (self._clock.monotonic() + _LIFE_S[time], time)
        self._expires.move_to_end(digest)
        if len(self._expires) > _MOST_PREFIXES:
            self._expires.popitem(last=False)


def _candidates(prompt: Prompt, positions: Iterable[int]) -> set[int]:
    found: set[int] = set()
    for position in positions:
        before = [boundary for boundary in prompt.boundaries if _LEAST_TOKENS <= boundary < position]
        found |= {position, *before[-_LOOKBACK_BLOCKS:]}
    return found


def _digests(model: str, pieces: Sequence[str], positions: Iterable[int]) -> list[bytes]:
    """The digest of the first `position` pieces, for rising `positions`."""
    running = blake2b(model.encode(), digest_size=16)
    digests = []
    done = 0
    for position in positions:
        running.update("\0".join(pieces[done:position]).encode("utf-8", "surrogatepass"))
        running.update(b"\0")
        done = position
        digests.append(running.digest())
    return digests
