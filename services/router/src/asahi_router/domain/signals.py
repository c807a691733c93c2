"""What the calls themselves say about answers: which failed a check, and which their user asked for once more.

Only failures are signals: an answer that passed its checks may still be wrong. They count so that their share among a
model's outcomes is the one that they have among its answers (post-stratification): where one sound answer in ten is
judged by somebody, one failed answer in ten counts. Where nobody judges anything, nothing is learned from them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from asahi.type.v1.chat_pb2 import Prompt
from asahi_core.clock import Clock

REPEATED = "repeated"
"""The same end user asked the same once more, past the cache."""
SCORES: Mapping[str, float] = {
    "json": 0.0,
    "json_schema": 0.0,
    "tool_arguments": 0.0,
    "empty": 0.0,
    "truncated": 0.25,
    "refused": 0.25,
    REPEATED: 0.5,
}
"""How good such an answer is taken to be, 0 to 1: what fits no schema is of no use to a program, but a refusal may be
right, half an answer may do, and who asks again may only be curious."""
_SURE_AFTER = 20
"""Judged answers with the same signal that count as much as the figure above."""
_REPEAT_S = 600.0
_MOST_QUESTIONS = 20_000


@dataclass(frozen=True, slots=True)
class Answers:
    """How many answers of a model there were lately, with a signal or without."""

    model: str
    failed: bool
    answered: int
    judged: int
    """Of these, by somebody."""


def shares(answers: Iterable[Answers]) -> dict[str, float]:
    """By model: share of its failed answers that nobody judged which count, 0 to 1."""
    by_model: dict[str, dict[bool, Answers]] = {}
    for one in answers:
        by_model.setdefault(one.model, {})[one.failed] = one
    return {model: _share(of.get(False), of.get(True)) for model, of in by_model.items()}


def _share(sound: Answers | None, failed: Answers | None) -> float:
    if sound is None or failed is None or failed.answered == failed.judged:
        return 0.0
    owed = failed.answered * sound.judged / sound.answered - failed.judged
    return min(1.0, max(0.0, owed / (failed.answered - failed.judged)))


def score_of(signal: str, judged: Sequence[float]) -> float:
    """How good an answer with that signal is, by what was said of `judged` others that had it."""
    return (_SURE_AFTER * SCORES[signal] + sum(judged)) / (_SURE_AFTER + len(judged))


def counts(request_id: str, share: float) -> bool:
    """Whether that answer is among those of the share; the same in every process, and for a larger share still so."""
    return int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest()) < share * 2**64


class Repeats:
    """The questions of end users in the last ten minutes, as many as fit, in this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def asked(self, organization_id: str, user_id: str, prompt: Prompt, request_id: str) -> str:
        """Notes a question that was answered; the request that asked the same before, once; empty: none did.

        A question that is asked over and over is no complaint: only the first repetition is told.
        """
        if not user_id:
            return ""
        key = _key(organization_id, user_id, prompt)
        now = self._clock.monotonic()
        at, before = self._asked.get(key, (now, ""))
        known = key in self._asked and now - at <= _REPEAT_S
        self._asked[key] = now, "" if known else request_id
        self._asked.move_to_end(key)
        if len(self._asked) > _MOST_QUESTIONS:
            self._asked.popitem(last=False)
        return before if known else ""


def _key(organization_id: str, user_id: str, prompt: Prompt) -> bytes:
    digest = blake2b(digest_size=16)
    for part in (organization_id, user_id):
        digest.update(len(part).to_bytes(4) + part.encode(errors="replace"))
    native = prompt.HasField("native")
    digest.update(prompt.native.body if native else prompt.chat.SerializeToString(deterministic=True))
    return digest.digest()
