"""Whether a document is worth being kept in a provider's prompt cache, where that must be asked for and costs more.

Writing to the cache costs a quarter more than reading a prompt plainly, reading from it a tenth (Anthropic's prices for
five minutes): keeping pays where a document comes again within five minutes more often than `PAYS_FROM`. How often that
happens is learned by organisation, apart for documents that come for the first time and those that have come again.
"""

from collections import OrderedDict
from dataclasses import dataclass

from prometheus_client import Counter

from asahi_core.clock import Clock

KEPT_S = 300.0
PAYS_FROM = 0.25 / 0.9
"""What writing costs more, by what reading costs less; both in input prices."""
_PRIOR = {False: (1.0, 5.0), True: (3.0, 5.0)}
"""By whether a document has come again already: as if of five sights so many had been followed by another."""
_FORGETS = 0.98
_MOST = 20_000
_SENT = Counter(
    "asahi_documents_sent", "Documents sent to providers, by whether keeping them was asked for.", ["asked"]
)
_EXPECTED = Counter(
    "asahi_documents_expected_again", "How many of them were expected to come again in time.", ["asked"]
)
_AGAIN = Counter("asahi_documents_came_again", "How many of them came again in time.", ["asked"])


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is expected of a document."""

    again: float
    """Probability that it comes again within five minutes."""

    @property
    def is_kept(self) -> bool:
        """Whether keeping it pays."""
        return self.again > PAYS_FROM

    @property
    def words(self) -> str:
        """The decision with its figures, in one sentence."""
        asked = "is asked" if self.is_kept else "is not asked"
        return (
            f"The document is sent first; a provider that keeps prompts only on request {asked} to keep it "
            f"({self.again:.0%} of such documents come again within 5 minutes, {PAYS_FROM:.0%} pay for it)."
        )


@dataclass(slots=True)
class _Sight:
    at: float
    was_again: bool
    was_kept: bool


class Prefixes:
    """The documents that were sent lately, and how often they come again. Of this process; bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, bytes], _Sight] = OrderedDict()
        """The last seen last."""
        self._counts: OrderedDict[tuple[str, bool], tuple[float, float]] = OrderedDict()
        """Sights that were followed by another, and all; by organisation and whether the document had come again."""

    def see(self, organization_id: str, digest: bytes) -> Prospect:
        """Notes that the document with this digest is sent to a provider now; what is expected of it."""
        now, key = self._clock.monotonic(), (organization_id, digest)
        self._settle(now)
        before = self._seen.pop(key, None)
        if before is not None:
            self._count(organization_id, before.was_again, came=True)
            _AGAIN.labels(_asked(before.was_kept)).inc()
        came, sights = self._counts.get((organization_id, before is not None), _PRIOR[before is not None])
        prospect = Prospect(came / sights)
        self._seen[key] = _Sight(now, was_again=before is not None, was_kept=prospect.is_kept)
        while len(self._seen) > _MOST:
            self._seen.popitem(last=False)
        _SENT.labels(_asked(prospect.is_kept)).inc()
        _EXPECTED.labels(_asked(prospect.is_kept)).inc(prospect.again)
        return prospect

    def _settle(self, now: float) -> None:
        """Counts the documents that did not come again in time."""
        while self._seen:
            (organization_id, _), sight = next(iter(self._seen.items()))
            if now - sight.at <= KEPT_S:
                return
            self._seen.popitem(last=False)
            self._count(organization_id, sight.was_again, came=False)

    def _count(self, organization_id: str, was_again: bool, *, came: bool) -> None:
        key = organization_id, was_again
        before, sights = self._counts.pop(key, _PRIOR[was_again])
        self._counts[key] = (before * _FORGETS + came, sights * _FORGETS + 1)
        while len(self._counts) > _MOST:
            self._counts.popitem(last=False)


def _asked(is_kept: bool) -> str:
    return "yes" if is_kept else "no"
